"""Services come and go and say what they like: nothing that was said ever changes."""

from __future__ import annotations

import boa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.chain.contracts.treasury import attempt
from tests.chain.contracts.world import deployer, wallet

LENGTH = 100
NOTHING = bytes(32)
PEOPLE = ("owner", "one", "two", "three")

people = st.sampled_from(PEOPLE)
words = st.sampled_from([NOTHING, b"\x01" * 32, b"\x02" * 32])


class Saying(RuleBasedStateMachine):
    """Everybody tries everything; a plain model says what has to come of it."""

    @initialize()
    def start(self) -> None:
        nft = deployer("Nft").deploy("Kaisar ZeroNode", "KZN", wallet("owner"))
        self.anchor = deployer("ZeroNodeAnchor").deploy(wallet("owner"), nft, LENGTH)
        self.owner, self.heir = "owner", ""
        self.services: list[tuple[str, bytes, bool]] = []
        self.roots: dict[tuple[int, int], bytes] = {}
        self.draws: dict[tuple[int, bytes], tuple[bytes, int]] = {}

    @rule(seconds=st.integers(1, 2 * LENGTH))
    def wait(self, seconds: int) -> None:
        boa.env.timestamp += seconds

    @rule(sender=people, person=people, key=words)
    def add(self, sender: str, person: str, key: bytes) -> None:
        active = [(who, its) for who, its, is_active in self.services if is_active]
        may = (
            sender == self.owner
            and key != NOTHING
            and person not in {who for who, _ in active}
            and key not in {its for _, its in active}
        )
        assert attempt(sender, self.anchor.add_service, wallet(person), key)[0] == may
        if may:
            self.services.append((person, key, True))

    @rule(sender=people, service=st.integers(0, 4))
    def retire(self, sender: str, service: int) -> None:
        may = sender == self.owner and service < len(self.services) and self.services[service][2]
        assert attempt(sender, self.anchor.retire_service, service)[0] == may
        if may:
            person, key, _ = self.services[service]
            self.services[service] = (person, key, False)

    def _index(self, person: str) -> int | None:
        found = [
            i for i, (who, _, is_active) in enumerate(self.services) if is_active and who == person
        ]
        return found[0] if found else None

    @rule(sender=people, back=st.integers(-1, 3), root=words)
    def say_root(self, sender: str, back: int, root: bytes) -> None:
        day = boa.env.timestamp // LENGTH - back
        service = self._index(sender)
        may = (
            service is not None
            and root != NOTHING
            and back > 0
            and (service, day) not in self.roots
        )
        assert attempt(sender, self.anchor.anchor, day, root)[0] == may
        if may and service is not None:
            self.roots[service, day] = root

    @rule(sender=people, draw=words, commitment=words)
    def say_draw(self, sender: str, draw: bytes, commitment: bytes) -> None:
        service = self._index(sender)
        may = service is not None and commitment != NOTHING and (service, draw) not in self.draws
        assert attempt(sender, self.anchor.commit_draw, draw, commitment)[0] == may
        if may and service is not None:
            self.draws[service, draw] = (commitment, boa.env.timestamp)

    @rule(sender=people, heir=people)
    def offer(self, sender: str, heir: str) -> None:
        assert attempt(sender, self.anchor.offer_ownership, wallet(heir))[0] == (
            sender == self.owner
        )
        if sender == self.owner:
            self.heir = heir

    @rule(sender=people)
    def accept(self, sender: str) -> None:
        assert attempt(sender, self.anchor.accept_ownership)[0] == (sender == self.heir)
        if sender == self.heir:
            self.owner, self.heir = sender, ""

    @invariant()
    def all_stays_said(self) -> None:
        anchor = self.anchor
        for (service, day), root in self.roots.items():
            assert anchor.root_of(service, day) == root
        for (service, draw), said in self.draws.items():
            assert anchor.draw_of(service, draw) == said
        page = anchor.services(0, 64)
        assert [(entry[0], entry[1], entry[3] == 0) for entry in page] == [
            (wallet(person), key, is_active) for person, key, is_active in self.services
        ]
        for person in PEOPLE:
            index = self._index(person)
            assert anchor.service_index(wallet(person)) == (index is not None, index or 0)
        assert anchor.owner() == wallet(self.owner)


TestSaying = Saying.TestCase
TestSaying.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
