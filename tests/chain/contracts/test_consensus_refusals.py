"""Each way to spoil a valid bundle, and the reason with which Consensus refuses it."""

from collections.abc import Sequence
from typing import Any

import boa
import pytest

from tests.chain.contracts import reference, world
from tests.chain.contracts.snapshots import Snapshot
from tests.chain.contracts.world import Report, World, change, lanes, wallet

EPOCH = 1
HALF_ORDER = reference.CURVE_ORDER // 2
FIELD_PRIME = 2**256 - 2**32 - 977

NOT_SIGNED = "consensus: not signed by the seat"

VECTORS = [lanes(*(1_000 + 10 * lane + seat for lane in range(20))) for seat in range(4)]


@pytest.fixture
def empty_net() -> World:
    """Committees of four; nobody is registered; epoch 0 has just begun."""
    return world.build(seats=4)


@pytest.fixture(scope="module")
def _net() -> Snapshot:
    network = world.build(seats=4)
    network.populate(checkers=4, providers=20)
    network.enter(EPOCH)
    return Snapshot.of(network)


@pytest.fixture
def net(_net: Snapshot) -> World:
    """Four checkers, who make up every committee, and twenty providers; EPOCH has just begun."""
    return _net.resume()


@pytest.fixture(scope="module")
def _full_net() -> Snapshot:
    network = world.build(seats=4)
    network.populate(checkers=4, providers=reference.LANES)
    network.enter(EPOCH)
    return Snapshot.of(network)


@pytest.fixture
def full_net(_full_net: Snapshot) -> World:
    """The same with a provider in every lane."""
    return _full_net.resume()


def valid_reports(net: World, epoch: int = EPOCH) -> list[Report]:
    return net.reports(VECTORS, epoch)


def assert_accepted(net: World, reports: Sequence[Report], epoch: int = EPOCH, **how: Any) -> None:
    """The bundle is accepted; the chain is left as it was."""
    with boa.env.anchor():
        net.submit(reports, epoch, **how)
        assert net.consensus.has_bundle(epoch, how.get("shard", 0))


def assert_refused(
    net: World, reason: str, reports: Sequence[Report], epoch: int = EPOCH, **how: Any
) -> None:
    with boa.reverts(reason):
        net.submit(reports, epoch, **how)


def assert_signature_refused(
    net: World, reason: str, signature: tuple[int, int, int], spoiled: int = 2
) -> None:
    """The valid bundle with the signature (r, s, v) in place of one report's own."""
    reports = valid_reports(net)
    encoded = [
        net.encode(report, EPOCH, signature=signature if i == spoiled else None)
        for i, report in enumerate(reports)
    ]
    assert_refused(net, reason, reports, encoded=encoded)


# -- seats and quorum


def test_whole_committee_is_accepted(net: World) -> None:
    assert_accepted(net, valid_reports(net))


def test_reports_may_come_in_any_order(net: World) -> None:
    assert_accepted(net, valid_reports(net)[::-1])


def test_quorum_suffices_and_one_short_does_not(net: World) -> None:
    reports = valid_reports(net)
    assert net.consensus.quorum() == 3
    assert_refused(net, "consensus: no quorum", reports[:2])
    assert_refused(net, "consensus: no quorum", [], medians=lanes())
    assert_accepted(net, reports[:3])
    assert_accepted(net, reports[1:])


@pytest.mark.parametrize(("seats", "quorum"), [(1, 1), (2, 2), (7, 5), (11, 8), (16, 11)])
def test_quorum_is_two_thirds_rounded_up(seats: int, quorum: int) -> None:
    net = world.build(seats=seats)
    net.populate(checkers=seats, providers=1)
    net.enter(EPOCH)
    reports = net.reports([lanes(7)] * seats, EPOCH)
    assert net.consensus.quorum() == quorum
    if quorum > 1:
        assert_refused(net, "consensus: no quorum", reports[: quorum - 1])
    assert_accepted(net, reports[:quorum])
    assert_accepted(net, reports)


def test_seat_reports_once(net: World) -> None:
    reports = valid_reports(net)
    reason = "consensus: seat reported twice"
    assert_refused(net, reason, [reports[0], reports[1], reports[1]])
    other = change(reports[1], scores=VECTORS[3])
    assert_refused(net, reason, [*reports[:3], other])
    assert_refused(net, reason, [reports[0], reports[1], reports[2], reports[0]])


@pytest.mark.parametrize("seat", [4, 5, 15, 16, 255, 256, 2**128, 2**256 - 1])
def test_seat_that_does_not_exist(net: World, seat: int) -> None:
    reports = valid_reports(net)
    spoiled = [*reports[:3], change(reports[3], seat=seat)]
    assert_refused(net, "consensus: no such seat", spoiled)


def test_fewer_checkers_than_seats(empty_net: World) -> None:
    empty_net.populate(checkers=3, providers=20)
    empty_net.enter(EPOCH)
    reports = empty_net.reports(VECTORS[:3], EPOCH)
    fourth = change(reports[0], seat=3)
    assert_refused(empty_net, "consensus: no such seat", [*reports, fourth])
    assert_accepted(empty_net, reports)


def test_signature_of_an_outsider(net: World) -> None:
    reports = valid_reports(net)
    for signer in ("outsider", "provider 0"):
        spoiled = [*reports[:3], change(reports[3], signer=signer)]
        assert_refused(net, NOT_SIGNED, spoiled)


def test_signature_of_another_seat(net: World) -> None:
    reports = valid_reports(net)
    for seat in range(3):
        spoiled = [*reports[:3], change(reports[3], signer=reports[seat].signer)]
        assert_refused(net, NOT_SIGNED, spoiled)


def test_swapped_seats(net: World) -> None:
    first, second, *others = valid_reports(net)
    swapped = [change(first, seat=second.seat), change(second, seat=first.seat), *others]
    assert_refused(net, NOT_SIGNED, swapped)


def test_checker_of_this_epoch_is_not_drawn_yet(net: World) -> None:
    net.register("checker", "newcomer")
    members = net.committee(EPOCH, slots=4)
    assert list(net.consensus.committee(EPOCH, 0)) == members
    reports = [
        Report(seat, net.checkers[members[seat]], vector) for seat, vector in enumerate(VECTORS)
    ]
    assert_refused(net, "consensus: no such seat", [*reports, Report(4, "newcomer", VECTORS[0])])
    assert_refused(net, NOT_SIGNED, [*reports[:3], change(reports[3], signer="newcomer")])
    assert_accepted(net, reports)


def test_seat_of_a_checker_that_left(empty_net: World) -> None:
    net = empty_net
    net.populate(checkers=4, providers=20)
    with boa.env.prank(wallet("checker 1")):
        net.registry.leave_checker()
    net.enter(EPOCH)
    reports = valid_reports(net)
    staying = [report for report in reports if report.signer != "checker 1"]
    assert_refused(net, "consensus: seat is void", reports)
    assert_accepted(net, staying)


def test_checker_that_leaves_reports_until_its_exit_epoch(net: World) -> None:
    with boa.env.prank(wallet("checker 1")):
        net.registry.leave_checker()
    assert_accepted(net, valid_reports(net))
    # The grace period of its last epoch included.
    net.enter(EPOCH + 1, seconds=world.GRACE_SECONDS - 1)
    assert_accepted(net, valid_reports(net))
    assert_refused(net, "consensus: seat is void", valid_reports(net, EPOCH + 1), EPOCH + 1)


def test_seat_of_a_newcomer_in_a_reused_slot(net: World) -> None:
    with boa.env.prank(wallet("checker 1")):
        net.registry.leave_checker()
    reuse = EPOCH + 1 + world.REUSE_DELAY
    net.enter(reuse)
    net.registry.withdraw_checker(1)
    assert net.register("checker", "newcomer") == 1
    # The slot is older than the epoch and so is drawn; its tenant is active from the next on.
    reports = valid_reports(net, reuse)
    assert {report.signer for report in reports} >= {"newcomer"}
    assert_refused(net, "consensus: seat is void", reports, reuse)
    tenant_before = [
        change(report, signer="checker 1") if report.signer == "newcomer" else report
        for report in reports
    ]
    assert_refused(net, "consensus: seat is void", tenant_before, reuse)
    assert_accepted(net, [r for r in reports if r.signer != "newcomer"], reuse)
    net.enter(reuse + 1)
    assert_accepted(net, valid_reports(net, reuse + 1), reuse + 1)


# -- epoch and shard


def test_bundle_is_accepted_from_the_epochs_start_to_the_end_of_grace(empty_net: World) -> None:
    net = empty_net
    net.populate(checkers=4, providers=20)
    last_second = world.EPOCH_SECONDS - 1
    closed = "consensus: epoch is not open"

    net.enter(EPOCH - 1, last_second)
    guess = [Report(seat, f"checker {seat}", vector) for seat, vector in enumerate(VECTORS)]
    assert_refused(net, closed, guess)
    net.enter(EPOCH)
    assert_accepted(net, valid_reports(net))
    net.enter(EPOCH, last_second)
    assert_accepted(net, valid_reports(net))
    net.enter(EPOCH + 1, world.GRACE_SECONDS - 1)
    reports = valid_reports(net)
    assert_accepted(net, reports)
    assert not net.consensus.is_closed(EPOCH)

    net.enter(EPOCH + 1, world.GRACE_SECONDS)
    assert_refused(net, closed, reports)
    assert net.consensus.is_closed(EPOCH)
    net.enter(EPOCH + 2)
    assert_refused(net, closed, reports)


@pytest.mark.parametrize("epoch", [3, 2, 1, 6, 7, 2**32, 2**32 + 5, 2**64 + 5])
def test_wrong_epoch(net: World, epoch: int) -> None:
    net.enter(5, world.GRACE_SECONDS)
    reports = valid_reports(net, 5)
    assert_refused(net, "consensus: epoch is not open", reports, epoch)
    assert_accepted(net, reports, 5)


def test_epoch_before_the_first_bundle(net: World) -> None:
    # Nobody was registered before epoch 0, so it has nothing to judge, although it is still open.
    assert not net.consensus.is_closed(0)
    with boa.reverts():
        net.submit(valid_reports(net), 0)
    assert not net.consensus.has_bundle(0, 0)


@pytest.mark.parametrize("epoch", [2**255, 2**256 - 1])
def test_epoch_beyond_all_time(net: World, epoch: int) -> None:
    with boa.reverts():
        net.submit(valid_reports(net), epoch)


def test_second_bundle(net: World) -> None:
    reports = valid_reports(net)
    net.submit(reports, EPOCH)
    stored = net.consensus.scores(EPOCH, 0)
    assert_refused(net, "consensus: bundle exists", reports)
    assert_refused(net, "consensus: bundle exists", reports[:3])
    net.enter(EPOCH + 1)
    assert_refused(net, "consensus: bundle exists", reports)
    assert net.consensus.scores(EPOCH, 0) == stored
    assert_accepted(net, valid_reports(net, EPOCH + 1), EPOCH + 1)


@pytest.mark.parametrize("shard", [1, 2, 2**16, 2**32])
def test_shard_without_providers(net: World, shard: int) -> None:
    members = net.committee(EPOCH, shard)
    reports = [
        Report(seat, net.checkers[members[seat]], vector) for seat, vector in enumerate(VECTORS)
    ]
    assert_refused(net, "consensus: no such shard", reports, shard=shard)


@pytest.mark.parametrize("shard", [2**248, 2**254, 2**256 - 1])
def test_shard_beyond_all_providers(net: World, shard: int) -> None:
    encoded = [net.encode(report, EPOCH) for report in valid_reports(net)]
    with boa.reverts():
        net.submit(valid_reports(net), EPOCH, shard=shard, encoded=encoded)


def test_network_without_checkers(empty_net: World) -> None:
    empty_net.populate(checkers=0, providers=1)
    empty_net.enter(EPOCH)
    reports = [Report(seat, f"checker {seat}", VECTORS[seat]) for seat in range(3)]
    with boa.reverts():
        empty_net.submit(reports, EPOCH, medians=lanes())
    assert list(empty_net.consensus.committee(EPOCH, 0)) == []


def test_network_without_providers(empty_net: World) -> None:
    empty_net.populate(checkers=4, providers=0)
    empty_net.enter(EPOCH)
    reports = empty_net.reports([lanes()] * 4, EPOCH)
    assert_refused(empty_net, "consensus: no such shard", reports)


# -- what was signed


def test_report_signed_for_another_epoch_or_shard(net: World) -> None:
    reports = valid_reports(net)
    for epoch, shard in ((EPOCH - 1, 0), (EPOCH + 1, 0), (EPOCH, 1), (EPOCH + 2**32, 0)):
        assert_signature_refused(net, NOT_SIGNED, net.signature(reports[2], epoch, shard))


def test_report_signed_for_another_contract_or_chain(net: World) -> None:
    chain_id = boa.env.evm.patch.chain_id
    report = valid_reports(net)[2]
    foreign = [
        reference.domain_separator(chain_id + 1, net.consensus.address),
        reference.domain_separator(chain_id, net.rewards.address),
        reference.domain_separator(chain_id, "0x" + 20 * "00"),
    ]
    for domain in foreign:
        signature = net.signature(report, EPOCH, domain=domain)
        assert_signature_refused(net, NOT_SIGNED, signature)
    own = reference.domain_separator(chain_id, net.consensus.address)
    reports = valid_reports(net)
    encoded = [net.encode(r, EPOCH, signature=net.signature(r, EPOCH, domain=own)) for r in reports]
    assert_accepted(net, reports, encoded=encoded)


def test_bundle_replayed_on_a_twin(net: World) -> None:
    twin = world.deployer("Consensus").deploy(
        net.registry, net.beacon, 4, world.GRACE_SECONDS, world.TOLERANCE_SHIFT, world.RING
    )
    encoded = [net.encode(report, EPOCH) for report in valid_reports(net)]
    medians = reference.blocks(reference.low_medians(VECTORS))
    with boa.reverts(NOT_SIGNED):
        twin.submit(EPOCH, 0, medians, encoded)
    net.consensus.submit(EPOCH, 0, medians, encoded)


def test_chain_that_forked_under_another_id(net: World) -> None:
    reports = valid_reports(net)
    here = [net.encode(report, EPOCH) for report in reports]
    # titanoboa's anchors put the chain id back.
    boa.env.evm.patch.chain_id += 1
    assert_refused(net, NOT_SIGNED, reports, encoded=here)
    assert_accepted(net, reports)


@pytest.mark.parametrize(
    "changes",
    [
        {"online": 2**256 - 2},
        {"fraud": 1},
        {"evidence": b"\x12" * 32},
        {"scores": [*VECTORS[2][:19], VECTORS[2][19] + 1, *VECTORS[2][20:]]},
        {"scores": [*VECTORS[2][:255], 1]},
    ],
)
def test_report_changed_after_it_was_signed(net: World, changes: dict[str, Any]) -> None:
    reports = valid_reports(net)
    signature = net.signature(reports[2], EPOCH)
    changed = [*reports[:2], change(reports[2], **changes), reports[3]]
    encoded = [
        net.encode(report, EPOCH, signature=signature if i == 2 else None)
        for i, report in enumerate(changed)
    ]
    assert_refused(net, NOT_SIGNED, changed, encoded=encoded)
    # Signed as changed, the same report is accepted.
    assert_accepted(net, changed)


# -- signatures that are none


def test_mirrored_signature(net: World) -> None:
    """ecrecover takes (r, n - s) with the other v; s beyond 2**255 runs into the bit of v."""
    r, s, v = net.signature(valid_reports(net)[2], EPOCH)
    mirrored = reference.CURVE_ORDER - s
    assert mirrored > HALF_ORDER
    assert_signature_refused(net, NOT_SIGNED, (r, mirrored, 55 - v))
    assert_signature_refused(net, NOT_SIGNED, (r, mirrored, v))
    assert_signature_refused(net, NOT_SIGNED, (r, s, 55 - v))


@pytest.mark.parametrize("s", [HALF_ORDER + 1, HALF_ORDER + 2, 2**255 - 1])
@pytest.mark.parametrize("v", [27, 28])
def test_high_s(net: World, s: int, v: int) -> None:
    r, _, _ = net.signature(valid_reports(net)[2], EPOCH)
    assert_signature_refused(net, "consensus: high s", (r, s, v))
    assert_signature_refused(net, NOT_SIGNED, (r, HALF_ORDER, v))


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (0, HALF_ORDER),
        (1, 1),
        (reference.CURVE_ORDER - 1, 1),
        (reference.CURVE_ORDER, 1),
        (reference.CURVE_ORDER + 1, 1),
        (FIELD_PRIME, 1),
        (2**256 - 1, 1),
        (0xDEADBEEF << 200, 0xC0FFEE << 200),
    ],
)
@pytest.mark.parametrize("v", [27, 28])
def test_zero_and_garbage_signatures(net: World, r: int, s: int, v: int) -> None:
    assert_signature_refused(net, NOT_SIGNED, (r, s, v))


def test_zero_r_or_zero_s_of_a_real_signature(net: World) -> None:
    r, s, v = net.signature(valid_reports(net)[2], EPOCH)
    assert_signature_refused(net, NOT_SIGNED, (0, s, v))
    assert_signature_refused(net, NOT_SIGNED, (r, 0, v))
    assert_accepted(net, valid_reports(net))


@pytest.mark.parametrize("spoiled", range(4))
def test_bad_signature_in_each_place(net: World, spoiled: int) -> None:
    assert_signature_refused(net, NOT_SIGNED, (0, 0, 27), spoiled)


# -- scores


@pytest.mark.parametrize("lane", [0, 1, 14, 15, 16, 63, 64, 127, 200, 254, 255])
@pytest.mark.parametrize("score", [2**15, 2**15 + 5, 2**15 + 1_000])
def test_score_beyond_15_bits(lane: int, score: int, full_net: World) -> None:
    vectors = [[1_000 + seat for _ in range(reference.LANES)] for seat in range(4)]
    good = full_net.reports(vectors, EPOCH)
    vectors[3][lane] = score
    bad = full_net.reports(vectors, EPOCH)
    assert reference.low_medians(vectors)[lane] == 1_001
    assert_refused(full_net, "consensus: score exceeds 15 bits", bad)
    # The largest score that there is differs in nothing else.
    vectors[3][lane] = reference.MAX_SCORE
    assert_accepted(full_net, full_net.reports(vectors, EPOCH))
    assert_accepted(full_net, good)


@pytest.mark.parametrize("lane", [0, 15, 16, 128, 255])
@pytest.mark.parametrize("score", [2**15, 2**15 + 1_001, 2**16 - 1])
def test_all_agree_on_a_score_beyond_15_bits(lane: int, score: int, full_net: World) -> None:
    vector = [1_000] * reference.LANES
    vector[lane] = score
    # Which check notices depends on what the lane does to its neighbours.
    with boa.reverts():
        full_net.submit(full_net.reports([vector] * 4, EPOCH), EPOCH)
    assert not full_net.consensus.has_bundle(EPOCH, 0)


@pytest.mark.parametrize("lane", [20, 21, 31, 32, 47, 48, 128, 255])
def test_score_without_provider(net: World, lane: int) -> None:
    reason = "consensus: score without provider"
    for score in (1, reference.MAX_SCORE):
        vectors = [list(vector) for vector in VECTORS]
        for vector in vectors:
            vector[lane] = score
        assert_refused(net, reason, net.reports(vectors, EPOCH))
    # What the minority claims there is outvoted, and counts as a deviation.
    vectors = [list(vector) for vector in VECTORS]
    vectors[0][lane] = 500
    net.submit(net.reports(vectors, EPOCH), EPOCH)
    assert net.consensus.bundle(EPOCH, 0).deviations == 1


def test_last_provider_has_a_lane(net: World) -> None:
    vectors = [lanes(*([0] * 19), 77)] * 4
    net.submit(net.reports(vectors, EPOCH), EPOCH)
    assert net.consensus.totals(EPOCH)[0] == 77


def test_provider_of_this_epoch_has_no_lane_yet(net: World) -> None:
    net.register("provider", "newcomer")
    vectors = [lanes(*([5] * 21))] * 4
    assert_refused(net, "consensus: score without provider", net.reports(vectors, EPOCH))
    assert_accepted(net, valid_reports(net))
    net.enter(EPOCH + 1)
    assert_accepted(net, net.reports(vectors, EPOCH + 1), EPOCH + 1)


def test_anybody_may_send(net: World) -> None:
    with boa.env.prank(wallet("passer-by")):
        net.submit(valid_reports(net), EPOCH)
    (event,) = net.consensus.get_logs()
    assert event.sender == wallet("passer-by")
