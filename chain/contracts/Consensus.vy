#pragma version 0.4.3
#pragma evm-version london
"""
@title Consensus on the scores of a shard
@license Apache-2.0
@notice A committee of checkers is drawn for each epoch and shard of 256 providers (committee.vy).
        Each member signs one report (domain.vy): 256 scores, which providers were online, which
        committed fraud, and a root over its evidence. Anybody may bundle at least a quorum of them
        and submit them here with the claimed medians. The contract checks that every report is
        signed by the checker of its seat and that every claimed value is the low median of its
        lane, sixteen lanes at a time (lanes.vy). From the same words it takes each report's
        deviations, the majority of the two bitmaps and the totals that Rewards divides by, and
        keeps them (ring.vy). The first valid bundle of an epoch and shard is final.

        Fraud: a provider marked by more than half of the reports has its score stored as 0 and left
        out of the total. Medians are checked, and deviations counted, on the scores as reported.
        Clearing lanes before they are stored costs nothing while nobody is marked, and every reader
        of the ring sees the score that counts.

        Deviation: half the score x of a lane lies further from half its median m than
        m >> (1 + tolerance_shift). A report's weight is `used` - deviations, but 0 when more than
        half of the lanes deviate; `used` is the number of the shard's provider slots allocated
        before the epoch.
"""

from . import committee as draw
from . import domain
from . import failing
from . import lanes
from . import results
from . import ring
from . import slots
from .interfaces import IBeacon
from .interfaces import IConsensus
from .interfaces import IRegistry

implements: IConsensus
initializes: domain
initializes: ring

exports: (
    ring.ring_epochs,
    ring.has_bundle,
    ring.scores,
    ring.online_map,
    ring.totals,
    ring.epoch_words,
    ring.entries,
)

event BundleAccepted:
    epoch: indexed(uint256)
    shard: indexed(uint256)
    sender: indexed(address)
    reported: uint256  # these and `units` are as in IConsensus.Bundle
    deviations: uint256
    checkers: uint256
    online: uint256
    fraud: uint256
    total: uint256  # sum of the shard's scores, fraud counted as 0
    units: uint256

# A member's report as it is submitted. The fields are whole words, which cost less to decode than
# narrow types, whose bounds are checked one by one.
struct Report:
    seat: uint256
    scores: uint256[4][4]  # sixteen words in order, in blocks of four as the loop takes them
    online: uint256
    fraud: uint256
    evidence: bytes32
    r: bytes32
    vs: uint256  # EIP-2098: s, with v - 27 in the top bit; a word less of calldata than r, s, v

_MASK_9: constant(uint256) = 2**9 - 1
_MASK_16: constant(uint256) = 2**16 - 1

registry: public(immutable(address))
beacon: public(immutable(address))
seats: public(immutable(uint256))
quorum: public(immutable(uint256))
grace_seconds: public(immutable(uint256))
tolerance_shift: public(immutable(uint256))

_GENESIS: immutable(uint256)
_EPOCH_SECONDS: immutable(uint256)


@deploy
def __init__(
    registry_: address,
    beacon_: address,
    seats_: uint256,
    grace_seconds_: uint256,
    tolerance_shift_: uint256,
    ring_epochs_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param registry_ The Registry that knows providers, checkers and time.
    @param beacon_ The Beacon of the same Registry.
    @param seats_ Seats of a committee, 1..16. The quorum is two thirds of it, rounded up.
    @param grace_seconds_ How long after its epoch a bundle is accepted; at most one epoch, because
           Beacon keeps the seed of the previous epoch and no older.
    @param tolerance_shift_ A score within about median / 2**tolerance_shift of the median agrees;
           1..14.
    @param ring_epochs_ Epochs of results kept, 4..224: the time in which rewards can be claimed.
    """
    domain.__init__()
    ring.__init__(ring_epochs_)
    assert registry_.is_contract, "consensus: registry is not a contract"
    assert (
        staticcall IBeacon(beacon_).registry() == registry_
    ), "consensus: beacon of another registry"
    assert seats_ >= 1 and seats_ <= results.MAX_SEATS, "consensus: seats out of range"
    assert tolerance_shift_ >= 1 and tolerance_shift_ <= 14, "consensus: tolerance out of range"
    # A reused slot must not meet results of the tenant before.
    assert (
        ring_epochs_ < staticcall IRegistry(registry_).reuse_delay_epochs()
    ), "consensus: ring outlives slots"
    registry = registry_
    beacon = beacon_
    seats = seats_
    quorum = (2 * seats_ + 2) // 3
    grace_seconds = grace_seconds_
    tolerance_shift = tolerance_shift_
    _GENESIS = staticcall IRegistry(registry_).genesis()
    _EPOCH_SECONDS = staticcall IRegistry(registry_).epoch_seconds()
    assert grace_seconds_ <= _EPOCH_SECONDS, "consensus: grace exceeds an epoch"
    # What a checker or provider does in its last epoch can be shown for as long as the ring holds
    # that epoch, and its stake answers for it.
    assert (
        staticcall IRegistry(registry_).unstake_delay_seconds()
        > (ring_epochs_ + 1) * _EPOCH_SECONDS + grace_seconds_
    ), "consensus: stake leaves before evidence"


@external
def submit(
    epoch: uint256,
    shard: uint256,
    medians: uint256[4][4],
    reports: DynArray[Report, results.MAX_SEATS],
):
    """
    @notice Settles a shard for an epoch. Anybody may send it; the sender is only named in the
            event.
    @dev One long function, unrolled where indexing would cost as much as the work: calls, copies
         and bounds checks are most of the gas that is not calldata, storage or signatures. unsafe_*
         wherever the comment or the lanes' layout says that nothing can overflow.
    @param epoch The epoch judged: the current one, or the previous one within the grace period.
    @param shard Providers 256 * shard .. 256 * shard + 255.
    @param medians Low median of each lane over the given reports, before fraud is taken out; 0 in
           lanes that had no provider slot when the epoch began. Sixteen words in order.
    @param reports At least `quorum` reports of distinct seats, in any order.
    """
    # First of all, because several members may send the same bundle and only one can be first.
    key: uint256 = ring._key(epoch, shard)
    if ring._holds(key, epoch):
        failing._fail("consensus: bundle exists")
    if not self._is_open(epoch):
        failing._fail("consensus: epoch is not open")
    count: uint256 = len(reports)
    if count < quorum:
        failing._fail("consensus: no quorum")

    # The constructor made sure that Registry and Beacon are contracts.
    provider_slots: uint256 = 0
    checker_slots: uint256 = 0
    provider_slots, checker_slots = staticcall IRegistry(registry).bundle_slots(
        epoch, skip_contract_check=True
    )
    first_provider: uint256 = shard * results.SHARD_LANES
    if provider_slots <= first_provider:
        failing._fail("consensus: no such shard")
    used: uint256 = min(unsafe_sub(provider_slots, first_provider), results.SHARD_LANES)
    if used < results.SHARD_LANES:
        self._check_unused(medians, used)
    epoch_word: uint256 = ring._epoch_word(epoch)
    if epoch_word == 0:
        # The epoch's first bundle, which takes over the word of an old epoch.
        epoch_word = convert(
            staticcall IBeacon(beacon).seed(epoch, skip_contract_check=True), uint256
        ) | (checker_slots << results.CHECKER_SLOTS_SHIFT)

    # 1. Who holds the seats, and whether each of them signed its report.
    seed: bytes32 = results._seed(epoch_word)
    k: uint256 = min(seats, checker_slots)
    offset: uint256 = draw._offset(seed, shard, checker_slots)
    separator: bytes32 = domain._separator()
    reported: uint256 = 0
    invalid: uint256 = 0
    checkers: uint256 = 0
    units: uint256 = 0  # as in IConsensus.Bundle; Registry keeps them below 2**15
    # Of each report: stake units << 8 | 9 * seat.
    reporters: DynArray[uint256, results.MAX_SEATS] = []
    online_maps: DynArray[uint256, results.MAX_SEATS] = []
    fraud_maps: DynArray[uint256, results.MAX_SEATS] = []  # those that are not 0
    for report: Report in reports:
        if report.seat >= k:
            failing._fail("consensus: no such seat")
        if (reported >> report.seat) & 1 == 1:
            failing._fail("consensus: seat reported twice")
        reported |= 1 << report.seat
        member: uint256 = draw._member(seed, shard, report.seat, checker_slots, k, offset)
        checkers |= member << (report.seat << 4)
        word: uint256 = staticcall IRegistry(registry).checker_word(
            member, skip_contract_check=True
        )
        wallet: address = slots._active_wallet(word, epoch)
        if wallet == empty(address):
            failing._fail("consensus: seat is void")

        struct_hash: bytes32 = keccak256(
            abi_encode(
                domain.REPORT_TYPEHASH,
                epoch,
                shard,
                report.online,
                report.fraud,
                keccak256(abi_encode(report.scores)),
                report.evidence,
            )
        )
        s: uint256 = report.vs & domain.S_MASK
        if s > domain.HALF_ORDER:
            failing._fail("consensus: high s")
        # The wallet is not zero, so a failed recovery does not match it.
        if wallet != ecrecover(
            keccak256(concat(0x1901, separator, struct_hash)),
            unsafe_add(27, report.vs >> 255),
            convert(report.r, uint256),
            s,
        ):
            failing._fail("consensus: not signed by the seat")

        invalid |= (
            report.scores[0][0] | report.scores[0][1] | report.scores[0][2] | report.scores[0][3]
            | report.scores[1][0] | report.scores[1][1] | report.scores[1][2] | report.scores[1][3]
            | report.scores[2][0] | report.scores[2][1] | report.scores[2][2] | report.scores[2][3]
            | report.scores[3][0] | report.scores[3][1] | report.scores[3][2] | report.scores[3][3]
        )
        word = slots._units(word)
        units |= word << (report.seat << 4)
        reporters.append((word << 8) | unsafe_mul(report.seat, 9))
        online_maps.append(report.online)
        if report.fraud != 0:
            fraud_maps.append(report.fraud)

    # 2. What the majority saw.
    online: uint256 = lanes._majority(online_maps, count)
    fraud: uint256 = 0
    if unsafe_mul(2, len(fraud_maps)) > count:
        fraud = lanes._majority(fraud_maps, count)

    # 3. The medians. m is the low median of a lane exactly when at least p + 1 scores are <= m and
    #    at most p are < m, with p = (count - 1) // 2. The two counts share a lane, a byte each, and
    #    start such that a byte's top bit tells whether its condition holds: the lower one starts at
    #    128 - (p + 1) and rises with each x <= m, the upper one at 128 + p and falls with each
    #    x < m. A score x agrees with m when x // 2 differs from m // 2 by at most t, which is
    #    m >> (1 + tolerance_shift): when odd - d - 1 <= x <= odd + d with odd = m | 1, d = 2 * t.
    p: uint256 = unsafe_div(unsafe_sub(count, 1), 2)
    start: uint256 = unsafe_mul(
        unsafe_add(unsafe_sub(127, p), unsafe_add(128, p) << 8), lanes.ONES
    )
    d_shift: uint256 = tolerance_shift
    d_mask: uint256 = unsafe_mul((lanes.MAX_SCORE >> d_shift) & ~1, lanes.ONES)
    agreeing: uint256 = 0  # 9 bits per report, in the order of the reports
    sums: uint256 = 0
    for q: uint256 in range(4):
        # What the scores are subtracted from, see lanes.vy: bit 15 of a lane of le - x is x <= m,
        # of lt - x it is x < m, of high - x it is x <= odd + d, of low - x it is x < odd - d - 1.
        m: uint256[4] = medians[q]
        invalid |= m[0] | m[1] | m[2] | m[3]
        le: uint256[4] = [m[0] | lanes.H, m[1] | lanes.H, m[2] | lanes.H, m[3] | lanes.H]
        lt: uint256[4] = [
            unsafe_add(m[0], lanes.BELOW_H),
            unsafe_add(m[1], lanes.BELOW_H),
            unsafe_add(m[2], lanes.BELOW_H),
            unsafe_add(m[3], lanes.BELOW_H),
        ]
        d: uint256[4] = [
            (m[0] >> d_shift) & d_mask,
            (m[1] >> d_shift) & d_mask,
            (m[2] >> d_shift) & d_mask,
            (m[3] >> d_shift) & d_mask,
        ]
        odd: uint256[4] = [
            m[0] | lanes.ONES,
            m[1] | lanes.ONES,
            m[2] | lanes.ONES,
            m[3] | lanes.ONES,
        ]
        low: uint256[4] = [
            unsafe_add(unsafe_sub(odd[0], d[0]), lanes.BELOW_H_BY_2),
            unsafe_add(unsafe_sub(odd[1], d[1]), lanes.BELOW_H_BY_2),
            unsafe_add(unsafe_sub(odd[2], d[2]), lanes.BELOW_H_BY_2),
            unsafe_add(unsafe_sub(odd[3], d[3]), lanes.BELOW_H_BY_2),
        ]
        # Where odd + d exceeds 15 bits every score is low enough, as it is for 2**15 - 1.
        top: uint256[4] = [
            unsafe_add(odd[0], d[0]),
            unsafe_add(odd[1], d[1]),
            unsafe_add(odd[2], d[2]),
            unsafe_add(odd[3], d[3]),
        ]
        high: uint256[4] = [
            top[0] | lanes.H | unsafe_mul((top[0] >> 15) & lanes.ONES, lanes.MAX_SCORE),
            top[1] | lanes.H | unsafe_mul((top[1] >> 15) & lanes.ONES, lanes.MAX_SCORE),
            top[2] | lanes.H | unsafe_mul((top[2] >> 15) & lanes.ONES, lanes.MAX_SCORE),
            top[3] | lanes.H | unsafe_mul((top[3] >> 15) & lanes.ONES, lanes.MAX_SCORE),
        ]
        counts: uint256[4] = [start, start, start, start]

        for j: uint256 in range(count, bound=results.MAX_SEATS):
            x: uint256[4] = reports[j].scores[q]
            counts[0] = unsafe_sub(
                unsafe_add(counts[0], (unsafe_sub(le[0], x[0]) & lanes.H) >> 15),
                (unsafe_sub(lt[0], x[0]) & lanes.H) >> 7,
            )
            counts[1] = unsafe_sub(
                unsafe_add(counts[1], (unsafe_sub(le[1], x[1]) & lanes.H) >> 15),
                (unsafe_sub(lt[1], x[1]) & lanes.H) >> 7,
            )
            counts[2] = unsafe_sub(
                unsafe_add(counts[2], (unsafe_sub(le[2], x[2]) & lanes.H) >> 15),
                (unsafe_sub(lt[2], x[2]) & lanes.H) >> 7,
            )
            counts[3] = unsafe_sub(
                unsafe_add(counts[3], (unsafe_sub(le[3], x[3]) & lanes.H) >> 15),
                (unsafe_sub(lt[3], x[3]) & lanes.H) >> 7,
            )
            # Too low implies not too high, so one exclusive or tells whether a score is neither.
            agreed: uint256 = unsafe_add(
                unsafe_add(
                    ((unsafe_sub(high[0], x[0]) ^ unsafe_sub(low[0], x[0])) & lanes.H) >> 15,
                    ((unsafe_sub(high[1], x[1]) ^ unsafe_sub(low[1], x[1])) & lanes.H) >> 15,
                ),
                unsafe_add(
                    ((unsafe_sub(high[2], x[2]) ^ unsafe_sub(low[2], x[2])) & lanes.H) >> 15,
                    ((unsafe_sub(high[3], x[3]) ^ unsafe_sub(low[3], x[3])) & lanes.H) >> 15,
                ),
            )
            agreeing = unsafe_add(
                agreeing, (unsafe_mul(agreed, lanes.ONES) >> 240) << unsafe_mul(j, 9)
            )

        if ~(counts[0] & counts[1] & counts[2] & counts[3]) & lanes.BYTE_TOPS != 0:
            failing._fail("consensus: not the median")

        # What is kept: scores without fraud.
        if fraud != 0:
            for i: uint256 in range(4):
                marked: uint256 = (fraud >> ((q << 6) + (i << 4))) & _MASK_16
                m[i] &= ~unsafe_mul(lanes._spread(marked), lanes.LANE)
        # Two scores fit into a lane, more do not.
        first_two: uint256 = unsafe_add(m[0], m[1])
        last_two: uint256 = unsafe_add(m[2], m[3])
        sums = unsafe_add(
            sums,
            unsafe_add(
                unsafe_add(first_two & lanes.EVEN, (first_two >> 16) & lanes.EVEN),
                unsafe_add(last_two & lanes.EVEN, (last_two >> 16) & lanes.EVEN),
            ),
        )
        ring._entries[key].scores[q] = m
    # Checked once, at the end: what the arithmetic made of such a lane is undone by the revert.
    if invalid & lanes.H != 0:
        failing._fail("consensus: score exceeds 15 bits")

    # 4. What each report was worth.
    deviations: uint256 = 0
    weighted: uint256 = 0
    for reporter: uint256 in reporters:
        deviating: uint256 = unsafe_sub(results.SHARD_LANES, agreeing & _MASK_9)
        agreeing = agreeing >> 9
        deviations |= deviating << (reporter & 255)
        weighted = unsafe_add(weighted, unsafe_mul(reporter >> 8, results._weight(used, deviating)))

    total: uint256 = lanes._sum_wide(sums)
    ring._record(key, epoch, reported, deviations, units, used, online, fraud)
    ring._epochs[epoch % ring.ring_epochs] = (
        epoch_word
        + (total << results.PROVIDER_TOTAL_SHIFT)
        + (weighted << results.CHECKER_TOTAL_SHIFT)
    )
    log BundleAccepted(
        epoch=epoch,
        shard=shard,
        sender=msg.sender,
        reported=reported,
        deviations=deviations,
        checkers=checkers,
        online=online,
        fraud=fraud,
        total=total,
        units=units,
    )


@external
@view
def committee(epoch: uint256, shard: uint256) -> DynArray[uint256, results.MAX_SEATS]:
    """
    @notice The checker index of each seat; a seat whose checker is not active in the epoch is void.
    @param epoch The current or the previous epoch, or one of which the ring holds a bundle.
    @param shard The shard to be judged.
    """
    word: uint256 = ring._epoch_word(epoch)
    if word == 0:
        n: uint256 = (staticcall IRegistry(registry).slots_before(epoch))[1]
        word = convert(staticcall IBeacon(beacon).seed(epoch), uint256) | (
            n << results.CHECKER_SLOTS_SHIFT
        )
    return self._members(word, shard)


@external
@view
def bundle(epoch: uint256, shard: uint256) -> IConsensus.Bundle:
    """
    @notice What the accepted bundle left beside the scores. Reverts if the ring does not hold it.
    """
    key: uint256 = ring._found(epoch, shard)
    first: uint256 = ring._half(key, epoch, 0)
    second: uint256 = ring._half(key, epoch, results.HALF_SEATS)
    fraud: uint256 = 0
    if first & results.HAS_FRAUD != 0:
        fraud = ring._entries[key].fraud
    reported: uint256 = results._reported(first) | (
        results._reported(second) << results.HALF_SEATS
    )
    members: DynArray[uint256, results.MAX_SEATS] = self._members(ring._epoch_word(epoch), shard)
    checkers: uint256 = 0
    for seat: uint256 in range(len(members), bound=results.MAX_SEATS):
        if (reported >> seat) & 1 == 1:
            checkers |= members[seat] << (16 * seat)
    return IConsensus.Bundle(
        reported=reported,
        deviations=results._deviations(first)
        | (results._deviations(second) << results.DEVIATIONS_BITS),
        lanes=results._used(first),
        online=ring._entries[key].online,
        fraud=fraud,
        checkers=checkers,
        units=results._all_units(first) | (results._all_units(second) << results.UNITS_BITS),
    )


@external
@view
def seat_result(epoch: uint256, shard: uint256, seat: uint256) -> (uint256, uint256, uint256):
    """
    @notice One report of an accepted bundle. Reverts if there is none from that seat.
    @return (uint256, uint256, uint256) Checker index, lanes in which the report deviates, lanes in
            use.
    """
    key: uint256 = ring._found(epoch, shard)
    half: uint256 = 0
    if seat < results.MAX_SEATS:
        half = ring._half(key, epoch, seat)
    if (results._reported(half) >> (seat & 7)) & 1 == 0:
        failing._fail("consensus: no report")
    return (
        results._holder(ring._epoch_word(epoch), shard, seat, seats),
        results._deviating(half, seat),
        results._used(half),
    )


@external
@view
def is_closed(epoch: uint256) -> bool:
    """
    @notice Whether the epoch's grace is over, so that its totals are final.
    """
    return block.timestamp >= self._closes_at(epoch)


@internal
@view
def _members(epoch_word: uint256, shard: uint256) -> DynArray[uint256, results.MAX_SEATS]:
    """
    @notice The checker index of each seat, in an epoch of that word.
    """
    members: DynArray[uint256, results.MAX_SEATS] = []
    n: uint256 = results._checker_slots(epoch_word)
    for seat: uint256 in range(min(seats, n), bound=results.MAX_SEATS):
        members.append(results._holder(epoch_word, shard, seat, seats))
    return members


@internal
@view
def _closes_at(epoch: uint256) -> uint256:
    return _GENESIS + (epoch + 1) * _EPOCH_SECONDS + grace_seconds


@internal
@view
def _is_open(epoch: uint256) -> bool:
    return (
        _GENESIS + epoch * _EPOCH_SECONDS <= block.timestamp
        and block.timestamp < self._closes_at(epoch)
    )


@internal
@pure
def _check_unused(medians: uint256[4][4], used: uint256):
    """
    @notice Refuses a score in a lane from `used` on, where there is no provider.
    """
    for w: uint256 in range(16):
        # How many of this word's sixteen lanes have a provider.
        before: uint256 = unsafe_mul(16, w)
        mine: uint256 = min(unsafe_sub(max(used, before), before), 16)
        if medians[w // 4][w % 4] >> unsafe_mul(16, mine) != 0:
            failing._fail("consensus: score without provider")
