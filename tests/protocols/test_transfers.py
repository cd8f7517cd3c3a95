"""What is transferred, and what the receipts of a committee are worth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.envelopes import Verified
from protocols.epochs import Timeline
from protocols.errors import LocalError
from protocols.membership import EpochView, Member
from protocols.params import MAINNET, MAX_SEATS, PRESETS, Preset
from protocols.transfer_messages import TransferReceipt
from protocols.transfers import (
    LIMIT_FACTOR,
    MIN_RECEIPTS,
    NO_RATES,
    PIECE_BYTES,
    Rates,
    compute_piece_digest,
    count_pieces,
    derive_piece_seeds,
    expand_pieces,
    find_window,
    open_receipts,
    sum_receipts,
)
from protocols.types import Digest, Epoch, NetworkId, NodeKey, Seat, Shard, TimeMs, Wallet
from tests.protocols import transfer_reference as ref
from tests.protocols.compute_vectors import VECTORS, load, render
from tests.protocols.gossip_world import load_view
from tests.protocols.transfer_vectors import FILES
from tests.vectors.builders.actors import NETWORK, OTHER_NETWORK, secret

EPOCH = Epoch(7)
PROVIDER = 5
TIMELINE = Timeline(TimeMs(1_700_000_000_000), MAINNET)
MOST = MAINNET.transfer_bytes

of_every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())


@pytest.mark.parametrize("name", FILES)
def test_vectors_are_up_to_date(name: str) -> None:
    text = render(FILES[name])
    assert (VECTORS / name).read_text() == text, "python -m tests.protocols.transfer_vectors"


# Pieces.


@pytest.mark.parametrize("case", load("transfers/pieces.json"), ids=lambda case: str(case["index"]))
def test_piece_vector(case: dict[str, Any]) -> None:
    (piece,) = expand_pieces([bytes.fromhex(case["seed"])])

    assert len(piece) == PIECE_BYTES == case["bytes"]
    assert piece.startswith(bytes.fromhex(case["starts_with"]))
    assert piece.endswith(bytes.fromhex(case["ends_with"]))
    assert ref.sha256(piece).hex() == case["sha256"]
    transfer = Digest(bytes.fromhex(case["transfer"]))
    assert compute_piece_digest(transfer, case["index"], piece).hex() == case["digest"]


def test_several_pieces_are_those_of_each_seed() -> None:
    seeds = derive_piece_seeds(secret("transfer"), 3, 4)

    assert expand_pieces(seeds) == [expand_pieces([seed])[0] for seed in seeds]
    assert expand_pieces([]) == []


def test_seeds_follow_from_secret_and_index_alone() -> None:
    seeds = derive_piece_seeds(secret("transfer"), 0, 10)

    assert len(set(seeds)) == 10
    assert derive_piece_seeds(secret("transfer"), 4, 6) == seeds[4:]
    assert set(seeds).isdisjoint(derive_piece_seeds(secret("another"), 0, 10))


def test_a_digest_needs_transfer_index_and_every_byte() -> None:
    (piece,) = expand_pieces([secret("piece")])
    transfer = Digest(secret("transfer"))
    digest = compute_piece_digest(transfer, 0, piece)

    assert digest != compute_piece_digest(Digest(secret("another")), 0, piece)
    assert digest != compute_piece_digest(transfer, 1, piece)
    for position in (0, PIECE_BYTES // 2, PIECE_BYTES - 1):
        spoilt = bytearray(piece)
        spoilt[position] ^= 1
        assert digest != compute_piece_digest(transfer, 0, bytes(spoilt))


def test_pieces_do_not_compress() -> None:
    pieces = np.frombuffer(b"".join(expand_pieces(derive_piece_seeds(bytes(32), 0, 8))), np.uint8)
    counts = np.bincount(pieces, minlength=256) / pieces.size

    assert -(counts * np.log2(counts)).sum() > 7.999


def test_a_seed_of_another_length_is_nobodys() -> None:
    with pytest.raises(LocalError, match="seed"):
        expand_pieces([bytes(31)])


@of_every_preset
def test_a_preset_transfers_whole_pieces(preset: Preset) -> None:
    assert preset.transfer_bytes % PIECE_BYTES == 0
    assert count_pieces(preset) * PIECE_BYTES == preset.transfer_bytes > 0
    assert preset.transfer_bytes < 1 << 32


def test_a_quorum_can_prove_the_best_line_there_are_points_for() -> None:
    window = TIMELINE.transfer_window(EPOCH, 0, 1)

    assert MAINNET.quorum * MOST * 8000 // window.stage_ms >= 1_600_000_000


# Sums.


@pytest.mark.parametrize("case", load("transfers/sums.json"), ids=lambda case: case["name"])
def test_sum_vector(case: dict[str, Any]) -> None:
    network = load_view(case["view"])
    timeline = Timeline(
        network.timeline.genesis_ms,
        replace(network.timeline.preset, transfer_bytes=case["transfer_bytes"]),
    )
    receipts = open_receipts([bytes.fromhex(each) for each in case["receipts"]], network.network)

    rates = sum_receipts(receipts, network.epochs[Epoch(case["epoch"])], timeline, case["provider"])

    assert rates == Rates(case["down_bits_per_s"], case["up_bits_per_s"])


def make_view(checkers: int, seats: int = 11) -> EpochView:
    """A shard with six providers, the third of which has left, and a committee."""

    def member(index: int, exits: int, name: str) -> Member:
        key = NodeKey(secret(f"{name} {index}"))
        return Member(index, Wallet(bytes(20)), key, 0, Epoch(0), Epoch(exits))

    return EpochView(
        epoch=EPOCH,
        seed=Digest(secret("seed")),
        seats=seats,
        checker_slots=checkers,
        provider_slots=6,
        checkers={index: member(index, 100, "checker") for index in range(checkers)},
        providers={index: member(index, 3 if index == 2 else 100, "p") for index in range(6)},
    )


VIEW = make_view(30)
STAGE_MS = TIMELINE.transfer_window(EPOCH, 4, 5).stage_ms


def receipt(
    by: int, down: int, up: int, view: EpochView = VIEW, **change: Any
) -> Verified[TransferReceipt]:
    """The receipt of seat `by` once its envelope is opened."""
    checker = view.committee(Shard(0))[by]
    message = TransferReceipt(view.epoch, Shard(0), Seat(by), checker, PROVIDER, down, up)
    return Verified(view.checkers[checker].node_key, replace(message, **change), b"", b"")


def rates_of(figures: dict[int, int], view: EpochView = VIEW) -> int:
    """The rate down that these bytes by seat prove; up must be alike."""
    rates = sum_receipts(
        [receipt(seat, bytes_, bytes_, view) for seat, bytes_ in figures.items()],
        view,
        TIMELINE,
        PROVIDER,
    )
    assert rates.down_bits_per_s == rates.up_bits_per_s
    return rates.down_bits_per_s


def as_rate(bytes_: int) -> int:
    return bytes_ * 8000 // STAGE_MS


amounts = st.integers(0, 50 * PIECE_BYTES) | st.integers(0, (1 << 32) - 1)
committees = st.dictionaries(st.integers(0, 10), amounts, max_size=11)


@given(figures=committees)
def test_the_sum_is_the_references(figures: dict[int, int]) -> None:
    assert rates_of(figures) == ref.rate(list(figures.values()), 11, MOST, STAGE_MS)


@given(figures=committees.filter(bool), data=st.data())
def test_leaving_receipts_out_never_pays(figures: dict[int, int], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(figures))))

    assert rates_of({seat: figures[seat] for seat in kept}) <= rates_of(figures)


@given(figures=committees.filter(bool), data=st.data())
def test_a_larger_figure_is_never_worth_less(figures: dict[int, int], data: st.DataObject) -> None:
    seat = data.draw(st.sampled_from(sorted(figures)))
    more = data.draw(st.integers(figures[seat], (1 << 32) - 1))

    assert rates_of({**figures, seat: more}) >= rates_of(figures)


@given(
    honest=st.lists(amounts.map(lambda each: min(each, MOST)), min_size=6, max_size=10),
    lies=st.lists(amounts, min_size=1, max_size=5),
)
@example(honest=[10] * 6, lies=[MOST] * 5)
def test_liars_add_twice_what_the_honest_certify_at_most(
    honest: list[int], lies: list[int]
) -> None:
    """A majority tells the truth; the others claim whatever they like, all for the provider."""
    lies = lies[: 11 - len(honest)]
    claimed = rates_of(dict(enumerate([*honest, *lies])))

    # Among the six that certify v there are at least 6 - len(lies) honest ones.
    most_certified = sorted(honest, reverse=True)[6 - len(lies) - 1]
    bound = sum(honest) + LIMIT_FACTOR * most_certified * len(lies)
    assert claimed <= as_rate(bound)


def test_one_boast_on_an_even_line_is_worth_one_receipt_more() -> None:
    honest = dict.fromkeys(range(10), 1_000_000)

    assert rates_of({**honest, 10: MOST}) == as_rate(12_000_000)
    assert rates_of({**honest, 10: 1_000_000}) == as_rate(11_000_000)


def test_serving_the_committee_one_after_another_does_not_pay() -> None:
    """The same bytes in the same stage, evenly or to one checker after another."""
    line = 11_000_000
    evenly = dict.fromkeys(range(11), line // 11)
    in_turns = {seat: line if seat == 0 else 0 for seat in range(11)}

    assert rates_of(in_turns) <= rates_of(evenly) == as_rate(line)


@pytest.mark.parametrize(
    ("checkers", "needed"), [(3, 3), (4, 3), (5, 3), (6, 4), (7, 4), (11, 6), (40, 6)]
)
def test_a_majority_and_at_least_three_seats_are_needed(checkers: int, needed: int) -> None:
    view = make_view(checkers)
    figures = dict.fromkeys(range(needed), 1_000_000)

    assert rates_of(figures, view) == as_rate(1_000_000 * needed)
    assert rates_of(dict.fromkeys(range(needed - 1), 1_000_000), view) == 0


@pytest.mark.parametrize("checkers", [0, 1, 2])
def test_less_than_three_checkers_prove_nothing(checkers: int) -> None:
    view = make_view(checkers)

    assert checkers < MIN_RECEIPTS
    assert rates_of(dict.fromkeys(range(checkers), 1_000_000), view) == 0


@given(order=st.permutations(range(11)), figures=st.lists(amounts, min_size=11, max_size=11))
def test_the_order_of_receipts_does_not_matter(order: list[int], figures: list[int]) -> None:
    assert rates_of({seat: figures[seat] for seat in order}) == rates_of(dict(enumerate(figures)))


def test_down_and_up_are_judged_apart() -> None:
    receipts = [receipt(seat, 1_000_000, 0 if seat < 6 else 9_000_000) for seat in range(11)]

    rates = sum_receipts(receipts, VIEW, TIMELINE, PROVIDER)

    assert rates == Rates(as_rate(11_000_000), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": Epoch(6)},
        {"shard": Shard(1)},
        {"provider": 4},
        {"seat": Seat(11)},
        {"checker": 31},
    ],
)
def test_a_receipt_about_something_else_counts_as_absent(change: dict[str, Any]) -> None:
    receipts = [receipt(seat, 1_000_000, 1_000_000) for seat in range(6)]
    receipts[5] = receipt(5, 1_000_000, 1_000_000, **change)

    assert sum_receipts(receipts, VIEW, TIMELINE, PROVIDER) == NO_RATES


def test_a_receipt_by_another_key_counts_as_absent() -> None:
    receipts = [receipt(seat, 1_000_000, 1_000_000) for seat in range(6)]
    receipts[5] = replace(receipts[5], signer=receipts[4].signer)

    assert sum_receipts(receipts, VIEW, TIMELINE, PROVIDER) == NO_RATES


def test_a_void_seat_counts_as_absent() -> None:
    view = make_view(11)
    gone = view.committee(Shard(0))[0]
    receipts = [receipt(seat, 1_000_000, 1_000_000, view) for seat in range(6)]
    void = replace(
        view, checkers={index: each for index, each in view.checkers.items() if index != gone}
    )

    assert sum_receipts(receipts, view, TIMELINE, PROVIDER).up_bits_per_s == as_rate(6_000_000)
    assert sum_receipts(receipts, void, TIMELINE, PROVIDER) == NO_RATES


# Windows and envelopes.


def test_windows_go_by_the_active_providers() -> None:
    windows = {index: find_window(VIEW, TIMELINE, index) for index in range(7)}

    assert windows[2] is None, "it has left"
    assert windows[6] is None, "there is none"
    assert [windows[index] for index in (0, 1, 3, 4, 5)] == [
        TIMELINE.transfer_window(EPOCH, rank, 5) for rank in range(5)
    ]


@pytest.mark.parametrize("provider", [2, 6, 300])
def test_who_is_not_active_has_no_rates(provider: int) -> None:
    receipts = [
        receipt(seat, 1_000_000, 1_000_000, provider=provider, shard=Shard(provider // 256))
        for seat in range(11)
    ]

    assert sum_receipts(receipts, VIEW, TIMELINE, provider) == NO_RATES


def test_receipts_of_another_network_are_none() -> None:
    case = load("transfers/sums.json")[0]
    sealed = [bytes.fromhex(each) for each in case["receipts"]]

    assert len(open_receipts(sealed, NetworkId(NETWORK))) == len(sealed) == 4
    assert open_receipts(sealed, NetworkId(OTHER_NETWORK)) == []


def test_no_more_receipts_are_opened_than_there_can_be_seats() -> None:
    sealed = bytes.fromhex(load("transfers/sums.json")[0]["receipts"][0])

    assert len(open_receipts([sealed] * 100, NetworkId(NETWORK))) == MAX_SEATS
    assert open_receipts([b"junk"] * MAX_SEATS + [sealed], NetworkId(NETWORK)) == []
