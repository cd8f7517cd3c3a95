"""Builders of the transactions a node sends: pure functions from intent to call data.

Gas limits. Calls whose cost depends on the block they land in carry a limit of their own: the
first one of an epoch pays for freezing the seed, a rival's bundle changes what submitting costs.
The limits are about one and a half times the most that was measured (tests/chain/test_gas_limits.py
keeps them honest). The other calls are estimated by the chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chain.abi import get_interface
from chain.deployment import Deployment
from chain.records import Call, Parameter, SlotKind
from protocols.errors import LocalError
from protocols.hashing import keccak256
from protocols.lanes import encode_words, pack_words
from protocols.reports import SignedReport
from protocols.types import Digest, Epoch, NodeKey, Seat, Shard, Wallet

MAX_CLAIMS: Final = 64
"""Items in one claim, as in Rewards.vy."""

MAX_CLOSED: Final = 64
"""Epochs that one transaction closes, as in Rewards.vy."""

BPS: Final = 10_000
"""What a part of something is counted in."""

CONTRIBUTE_GAS: Final = 250_000
COMMIT_GAS: Final = 250_000
SUBMIT_BASE_GAS: Final = 700_000
SUBMIT_SEAT_GAS: Final = 90_000
"""Per report: signature, 256 lanes, deviations."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Builds calls for one deployment. Amounts are in the token's smallest unit, 10^-18."""

    deployment: Deployment

    def approve(self, spender: Wallet, amount: int) -> Call:
        """Allow a contract of ours to take `amount` from the sender."""
        return self._build("Token", "approve", spender, amount)

    def transfer(self, receiver: Wallet, amount: int) -> Call:
        """Send tokens."""
        return self._build("Token", "transfer", receiver, amount)

    def register(
        self, kind: SlotKind, node_key: NodeKey, binding: bytes, stake: int
    ) -> tuple[Call, Call]:
        """Approve the stake, then register: active from the next epoch on.

        `binding` is the node key's 64-byte signature over the sender's wallet.
        """
        if len(binding) != 64:
            raise LocalError(f"binding: found {len(binding)} bytes, expected 64")
        function = "register_provider" if kind is SlotKind.PROVIDER else "register_checker"
        return (
            self.approve(self.deployment.address("Registry"), stake),
            self._build("Registry", function, node_key, binding[:32], binding[32:], stake),
        )

    def leave(self, kind: SlotKind) -> Call:
        """Give up the sender's slot from the next epoch on."""
        function = "leave_provider" if kind is SlotKind.PROVIDER else "leave_checker"
        return self._build("Registry", function)

    def withdraw(self, kind: SlotKind, index: int) -> Call:
        """Pay the stake of a slot that was left out to its wallet, once the delay is over."""
        function = "withdraw_provider" if kind is SlotKind.PROVIDER else "withdraw_checker"
        return self._build("Registry", function, index)

    def commit(self, checker: int, commitment: Digest) -> Call:
        """Store a checker's first commitment, or replace one whose secret was lost."""
        return self._build("Beacon", "commit", checker, commitment, gas_limit=COMMIT_GAS)

    def contribute(self, checker: int, secret: bytes, next_commitment: Digest) -> Call:
        """Open the commitment of an earlier epoch and make the next; once per epoch."""
        return self._build(
            "Beacon", "contribute", checker, secret, next_commitment, gas_limit=CONTRIBUTE_GAS
        )

    def submit(
        self,
        epoch: Epoch,
        shard: Shard,
        medians: Sequence[int],
        reports: Sequence[SignedReport],
    ) -> Call:
        """Submit a bundle: the reports of at least a quorum of distinct seats.

        `medians` are the raw low medians of these reports in 256 lanes.
        """
        return self._build(
            "Consensus",
            "submit",
            epoch,
            shard,
            _in_fours(pack_words(medians)),
            [_to_abi(report) for report in reports],
            gas_limit=SUBMIT_BASE_GAS + SUBMIT_SEAT_GAS * len(reports),
        )

    def claim_provider(self, provider: int, epochs: Sequence[Epoch]) -> Call:
        """Have the rewards of up to MAX_CLAIMS epochs paid to a provider slot's wallet."""
        _require_claims(len(epochs))
        return self._build("Rewards", "claim_provider", provider, list(epochs))

    def claim_checker(self, checker: int, items: Sequence[tuple[Epoch, Shard, Seat]]) -> Call:
        """Have the rewards of up to MAX_CLAIMS reports paid to a checker slot's wallet."""
        _require_claims(len(items))
        return self._build("Rewards", "claim_checker", checker, [_pack_item(*i) for i in items])

    def close_epochs(self) -> Call:
        """Close the epochs whose grace is over; claims do that for the epochs that they need."""
        return self._build("Rewards", "close")

    def top_up(self, kind: SlotKind, index: int, amount: int) -> tuple[Call, Call]:
        """Approve `amount`, then add it to the stake of a slot, whosever it is."""
        function = "top_up_provider" if kind is SlotKind.PROVIDER else "top_up_checker"
        return (
            self.approve(self.deployment.address("Registry"), amount),
            self._build("Registry", function, index, amount),
        )

    def prove_equivocation(self, checker: int, first: SignedReport, second: SignedReport) -> Call:
        """Show two different reports on one epoch and shard, both signed by a checker's wallet.

        LocalError when they are not on the same.
        """
        place = (first.report.epoch, first.report.shard)
        if place != (second.report.epoch, second.report.shard):
            raise LocalError("reports: expected two of one epoch and shard")
        statements = (_to_statement(first), _to_statement(second))
        return self._build("Penalties", "prove_equivocation", checker, *place, *statements)

    def slash_fraud(self, epoch: Epoch, shard: Shard, lane: int) -> Call:
        """Punish a provider that the majority of an accepted bundle marked."""
        return self._build("Penalties", "slash_fraud", epoch, shard, lane)

    def record_wrong(self, epoch: Epoch, shard: Shard, seat: Seat) -> Call:
        """Count a report of an accepted bundle that deviates in more than half of the lanes."""
        return self._build("Penalties", "record_wrong", epoch, shard, seat)

    def delegate(self, checker: int, since: Epoch, amount: int) -> tuple[Call, Call]:
        """Approve `amount`, then leave it for the checker whose tenancy began in `since`.

        It counts once it is activated, which is possible after the warm-up.
        """
        return (
            self.approve(self.deployment.address("Delegation"), amount),
            self._build("Delegation", "deposit", checker, since, amount),
        )

    def take_back(self, checker: int, since: Epoch) -> Call:
        """Take back what the sender left for a checker and what is not activated."""
        return self._build("Delegation", "take_back", checker, since)

    def activate(self, owner: Wallet, checker: int, since: Epoch) -> Call:
        """Make what somebody left for a checker count, after the warm-up."""
        return self._build("Delegation", "activate", owner, checker, since)

    def undelegate(self, checker: int, since: Epoch, shares: int) -> Call:
        """Take shares of the sender's out of what counts for a checker; locked for the delay."""
        return self._build("Delegation", "undelegate", checker, since, shares)

    def withdraw_delegation(self, owner: Wallet, checker: int, since: Epoch) -> Call:
        """Pay out to a delegator what it has undelegated, once the delay is over."""
        return self._build("Delegation", "withdraw", owner, checker, since)

    def collect(self, owner: Wallet, checker: int, since: Epoch) -> Call:
        """Pay a delegator its part of a checker's rewards."""
        return self._build("Delegation", "collect", owner, checker, since)

    def set_commission(self, checker: int, bps: int) -> Call:
        """Announce what part of its rewards the sending checker gives to its delegators."""
        if not 0 <= bps <= BPS:
            raise LocalError(f"commission: found {bps}, expected 0 … {BPS} ten-thousandths")
        return self._build("Delegation", "set_commission", checker, bps)

    def propose(self, parameter: Parameter, value: int) -> Call:
        """Propose a value; the Steward's owner may."""
        return self._build("Steward", "propose", parameter, value)

    def execute_proposal(self, parameter: Parameter) -> Call:
        """Make a proposal count whose time lock is over."""
        return self._build("Steward", "execute", parameter)

    def cancel_proposal(self, parameter: Parameter) -> Call:
        """Withdraw a proposal; the Steward's owner may."""
        return self._build("Steward", "cancel", parameter)

    def pause(self) -> Call:
        """Stop new bundles for some days; the Steward's owner or guardian may."""
        return self._build("Steward", "pause")

    def unpause(self) -> Call:
        """End a pause early; the Steward's owner or guardian may."""
        return self._build("Steward", "unpause")

    def fund(self, amount: int) -> tuple[Call, Call]:
        """Approve `amount`, then add it to the fund that rewards are paid from."""
        return (
            self.approve(self.deployment.address("Rewards"), amount),
            self._build("Rewards", "fund", amount),
        )

    def _build(
        self, contract: str, function: str, *arguments: object, gas_limit: int | None = None
    ) -> Call:
        return Call(
            to=self.deployment.address(contract),
            data=get_interface(contract).functions[function].encode(arguments),
            gas_limit=gas_limit,
        )


def _require_claims(count: int) -> None:
    if not 1 <= count <= MAX_CLAIMS:
        raise LocalError(f"claims: found {count}, expected 1 … {MAX_CLAIMS}")


def _in_fours(words: Sequence[int]) -> list[list[int]]:
    """Arrange sixteen words as Consensus.vy declares them, uint256[4][4]: the same bytes."""
    return [list(words[start : start + 4]) for start in range(0, len(words), 4)]


def _pack_item(epoch: Epoch, shard: Shard, seat: Seat) -> int:
    """Name one seat of one bundle as Rewards.vy does."""
    return epoch << 32 | shard << 4 | seat


def _to_statement(signed: SignedReport) -> tuple[object, ...]:
    """Arrange a report as Penalties.vy takes it: all but where it belongs."""
    report = signed.report
    scores = keccak256(encode_words(pack_words(report.scores)))
    return report.online, report.fraud, scores, report.evidence, *_compact(signed.signature)


def _compact(signature: bytes) -> tuple[bytes, int]:
    """Arrange a signature in EIP-2098's 64 bytes."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    return r, int.from_bytes(s, "big") | (v - 27) << 255


def _to_abi(signed: SignedReport) -> tuple[object, ...]:
    """Arrange a report as Consensus.vy takes it."""
    report = signed.report
    return (
        signed.seat,
        _in_fours(pack_words(report.scores)),
        report.online,
        report.fraud,
        report.evidence,
        *_compact(signed.signature),
    )
