#pragma version 0.4.3
#pragma evm-version london
"""
@title Consensus on the scores of a shard
@license Apache-2.0
@notice A committee of checkers is drawn for each epoch and shard of 256 providers (committee.vy). Each
        member signs one report: 256 scores, which providers were online, which committed fraud, and a
        root over its evidence. Anybody may bundle at least a quorum of them and submit them here with
        the claimed medians. The contract checks that every seat is held by the signer and that every
        claimed value is the low median of its lane, sixteen lanes at a time (lanes.vy), and takes
        from the same words each reporter's deviations, the majority of the two bitmaps and the totals
        that Rewards divides by. The first valid bundle of an epoch and shard is final.

        Fraud: a provider marked by more than half of the reports has its score stored as 0 and left out
        of the total. Medians are checked, and deviations counted, on the scores as reported. Clearing
        the lanes before they are stored costs nothing when nobody is marked, and every reader of the
        ring (Rewards, auditors) sees the score that counts.

        Deviation of a lane, with score x and median m: half x lies further from half m than
        m >> (1 + tolerance_shift). Weight of a report: lanes - deviations, but 0 when more than half of
        the lanes deviate; lanes is the number of the shard's provider slots allocated before the epoch.
@dev State is a ring of `ring_epochs`: in steady state every write goes to a word that was written before
     (5,000 gas instead of 22,100).
"""

from . import committee as draw
from . import lanes
from . import slots
from .interfaces import IBeacon
from .interfaces import IConsensus
from .interfaces import IRegistry

implements: IConsensus

event BundleAccepted:
    epoch: indexed(uint256)
    shard: indexed(uint256)
    sender: indexed(address)
    reported: uint256  # bit j: seat j reported
    deviations: uint256  # 9 bits per seat j, at bit 9 * j
    checkers: uint256  # 16 bits per seat j, at bit 16 * j: the checker index of a seat that reported
    online: uint256  # majority bitmap
    fraud: uint256  # majority bitmap
    total: uint256  # sum of the shard's scores, fraud counted as 0

# A member's report as it is submitted. The fields are whole words: they cost less to decode than
# narrow types, whose bounds are checked one by one.
struct Report:
    seat: uint256
    scores: uint256[4][4]  # the sixteen words in order; in blocks of four, as the loop takes them
    online: uint256
    fraud: uint256
    evidence: bytes32
    r: bytes32
    vs: uint256  # EIP-2098: s, with v - 27 in the top bit; a word less of calldata

# What a bundle leaves in the ring, unpacked for readers.
struct Bundle:
    reported: uint256
    deviations: uint256
    lanes: uint256
    online: uint256
    fraud: uint256
    checkers: uint256

# The same as stored.
struct Stored:
    # bits 0..143 deviations, 144..159 reported, 160..175 lanes, 176 whether fraud is of this bundle,
    # 224..255 epoch
    meta: uint256
    online: uint256
    fraud: uint256
    scores: uint256[4][4]

# Seats of the largest committee: what `reported`, `checkers` and the calldata are laid out for.
MAX_SEATS: constant(uint256) = 16
SHARD_LANES: constant(uint256) = 256

# Beacon remembers contributions for 224 epochs; claims must not outlive that.
MAX_RING: constant(uint256) = 224

# Half the order of secp256k1. A larger s is the mirror image of a valid signature (EIP-2).
HALF_ORDER: constant(uint256) = (
    57_896_044_618_658_097_711_785_492_504_343_953_926_418_782_139_537_452_191_302_581_570_759_080_747_168
)

_DEVIATIONS_MASK: constant(uint256) = 2**144 - 1
_REPORTED_SHIFT: constant(uint256) = 144
_LANES_SHIFT: constant(uint256) = 160
_EPOCH_SHIFT: constant(uint256) = 224
_MASK_16: constant(uint256) = 2**16 - 1
_MASK_9: constant(uint256) = 2**9 - 1
_HAS_FRAUD: constant(uint256) = 1 << 176
_MASK_15: constant(uint256) = 2**15 - 1
_S_MASK: constant(uint256) = 2**255 - 1

# An epoch's totals in one word: bits 0..95 providers, 96..223 checkers, 224..255 epoch. The sums stay
# below 2**47 (2**32 scores) and 2**76 (2**32 units, weight 2**8, 2**4 seats, 2**24 shards).
_PROVIDER_TOTAL_MASK: constant(uint256) = 2**96 - 1
_CHECKER_TOTAL_MASK: constant(uint256) = 2**128 - 1
_CHECKER_TOTAL_SHIFT: constant(uint256) = 96

NAME: constant(String[6]) = "Kaisar"
VERSION: constant(String[1]) = "1"
DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
REPORT_TYPEHASH: constant(bytes32) = keccak256(
    "Report(uint32 epoch,uint32 shard,uint256 online,uint256 fraud,bytes32 scores,bytes32 evidence)"
)

registry: public(immutable(address))
beacon: public(immutable(address))
seats: public(immutable(uint256))
quorum: public(immutable(uint256))
grace_seconds: public(immutable(uint256))
tolerance_shift: public(immutable(uint256))
ring_epochs: public(immutable(uint256))

_GENESIS: immutable(uint256)
_EPOCH_SECONDS: immutable(uint256)
_DOMAIN: immutable(bytes32)
_DOMAIN_CHAIN: immutable(uint256)

_bundles: HashMap[uint256, Stored]  # shard * ring_epochs + epoch % ring_epochs -> bundle
_totals: HashMap[uint256, uint256]  # epoch % ring_epochs -> totals


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
    @param tolerance_shift_ A score within about median / 2**tolerance_shift of the median agrees; 1..14.
    @param ring_epochs_ Epochs of results kept, 4..224: the time in which rewards can be claimed.
    """
    assert registry_.is_contract, "consensus: registry is not a contract"
    assert staticcall IBeacon(beacon_).registry() == registry_, "consensus: beacon of another registry"
    assert seats_ >= 1 and seats_ <= MAX_SEATS, "consensus: seats out of range"
    assert tolerance_shift_ >= 1 and tolerance_shift_ <= 14, "consensus: tolerance out of range"
    assert ring_epochs_ >= 4 and ring_epochs_ <= MAX_RING, "consensus: ring out of range"
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
    ring_epochs = ring_epochs_
    _GENESIS = staticcall IRegistry(registry_).genesis()
    _EPOCH_SECONDS = staticcall IRegistry(registry_).epoch_seconds()
    assert grace_seconds_ <= _EPOCH_SECONDS, "consensus: grace exceeds an epoch"
    _DOMAIN = self._build_domain()
    _DOMAIN_CHAIN = chain.id


@external
def submit(
    epoch: uint256,
    shard: uint256,
    medians: uint256[4][4],
    reports: DynArray[Report, MAX_SEATS],
):
    """
    @notice Settles a shard for an epoch. Anybody may send it; the sender is only recorded in the event.
    @param epoch The epoch judged: the current one, or the previous one within the grace period.
    @param shard Providers 256 * shard .. 256 * shard + 255.
    @param medians Low median of each lane over the given reports; 0 in lanes that have no provider.
    @param reports At least `quorum` reports of distinct seats, in any order.
    """
    # First of all, because several members may send the same bundle and only one can be first.
    key: uint256 = self._key(epoch, shard)
    assert self._bundles[key].meta >> _EPOCH_SHIFT != epoch, "consensus: bundle exists"
    assert self._is_open(epoch), "consensus: epoch is not open"
    count: uint256 = len(reports)
    assert count >= quorum, "consensus: no quorum"

    # Lanes in use: the shard's slots that existed when the epoch began.
    provider_slots: uint256 = 0
    checker_slots: uint256 = 0
    provider_slots, checker_slots = staticcall IRegistry(registry).slots_before(
        epoch, skip_contract_check=True
    )
    first_provider: uint256 = shard * SHARD_LANES
    assert provider_slots > first_provider, "consensus: no such shard"
    used: uint256 = min(unsafe_sub(provider_slots, first_provider), SHARD_LANES)
    if used < SHARD_LANES:
        self._check_unused(medians, used)

    # 1. Who holds the seats, and whether each of them signed its report.
    seed: bytes32 = staticcall IBeacon(beacon).seed(epoch, skip_contract_check=True)
    k: uint256 = min(seats, checker_slots)
    offset: uint256 = draw._offset(seed, shard, checker_slots)
    domain: bytes32 = self._domain()
    reported: uint256 = 0
    invalid: uint256 = 0
    checkers: uint256 = 0
    reporters: DynArray[uint256, MAX_SEATS] = []  # of each report: stake units << 8 | 9 * seat
    online_maps: DynArray[uint256, MAX_SEATS] = []
    fraud_maps: DynArray[uint256, MAX_SEATS] = []  # those that are not 0
    for report: Report in reports:
        assert report.seat < k, "consensus: no such seat"
        assert (reported >> report.seat) & 1 == 0, "consensus: seat reported twice"
        reported |= 1 << report.seat
        member: uint256 = draw._member(seed, shard, report.seat, checker_slots, k, offset)
        checkers |= member << (report.seat << 4)
        # The constructor made sure that there is a contract.
        word: uint256 = staticcall IRegistry(registry).checker_word(
            member, skip_contract_check=True
        )
        wallet: address = slots._active_wallet(word, epoch)
        assert wallet != empty(address), "consensus: seat is void"

        invalid |= (
            (report.scores[0][0] | report.scores[0][1] | report.scores[0][2] | report.scores[0][3])
            | (report.scores[1][0] | report.scores[1][1] | report.scores[1][2] | report.scores[1][3])
            | (report.scores[2][0] | report.scores[2][1] | report.scores[2][2] | report.scores[2][3])
            | (report.scores[3][0] | report.scores[3][1] | report.scores[3][2] | report.scores[3][3])
        )
        struct_hash: bytes32 = keccak256(
            abi_encode(
                REPORT_TYPEHASH,
                epoch,
                shard,
                report.online,
                report.fraud,
                keccak256(abi_encode(report.scores)),
                report.evidence,
            )
        )
        s: uint256 = report.vs & _S_MASK
        assert s <= HALF_ORDER, "consensus: high s"
        # The wallet is not zero, so a failed recovery does not match it.
        assert wallet == ecrecover(
            keccak256(concat(0x1901, domain, struct_hash)),
            unsafe_add(27, report.vs >> 255),
            convert(report.r, uint256),
            s,
        ), "consensus: not signed by the seat"

        reporters.append(((word >> 224) << 8) | unsafe_mul(report.seat, 9))
        online_maps.append(report.online)
        if report.fraud != 0:
            fraud_maps.append(report.fraud)

    # 2. What the majority saw.
    online: uint256 = lanes._majority(online_maps, count)
    fraud: uint256 = 0
    if unsafe_mul(2, len(fraud_maps)) > count:
        fraud = lanes._majority(fraud_maps, count)

    # 3. The medians: m is the low median of a lane exactly when at least p + 1 scores are <= m and at
    #    most p are < m, with p = (count - 1) // 2. The two counts share a lane, a byte each, and start
    #    such that a byte's top bit says whether its condition holds: the lower one at 128 - (p + 1),
    #    rising with each x <= m, the upper one at 128 + p, falling with each x < m.
    p: uint256 = unsafe_div(unsafe_sub(count, 1), 2)
    start: uint256 = unsafe_mul(
        unsafe_add(unsafe_sub(127, p), unsafe_add(128, p) << 8), lanes.ONES
    )
    d_shift: uint256 = tolerance_shift
    d_mask: uint256 = unsafe_mul((lanes.MAX_SCORE >> d_shift) & ~1, lanes.ONES)
    agreeing: uint256 = 0  # 9 bits per report, in the order of the reports
    sums: uint256 = 0
    # Sixteen words in blocks of four, because indexing costs as much as the arithmetic on four words.
    for q: uint256 in range(4):
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
            m[0] | lanes.ONES, m[1] | lanes.ONES, m[2] | lanes.ONES, m[3] | lanes.ONES
        ]
        low: uint256[4] = [
            unsafe_add(unsafe_sub(odd[0], d[0]), lanes.BELOW_LOW),
            unsafe_add(unsafe_sub(odd[1], d[1]), lanes.BELOW_LOW),
            unsafe_add(unsafe_sub(odd[2], d[2]), lanes.BELOW_LOW),
            unsafe_add(unsafe_sub(odd[3], d[3]), lanes.BELOW_LOW),
        ]
        up: uint256[4] = [
            unsafe_add(odd[0], d[0]),
            unsafe_add(odd[1], d[1]),
            unsafe_add(odd[2], d[2]),
            unsafe_add(odd[3], d[3]),
        ]
        high: uint256[4] = [
            up[0] | lanes.H | unsafe_mul((up[0] >> 15) & lanes.ONES, lanes.MAX_SCORE),
            up[1] | lanes.H | unsafe_mul((up[1] >> 15) & lanes.ONES, lanes.MAX_SCORE),
            up[2] | lanes.H | unsafe_mul((up[2] >> 15) & lanes.ONES, lanes.MAX_SCORE),
            up[3] | lanes.H | unsafe_mul((up[3] >> 15) & lanes.ONES, lanes.MAX_SCORE),
        ]
        counts: uint256[4] = [start, start, start, start]

        for j: uint256 in range(count, bound=MAX_SEATS):
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
            agreeing = unsafe_add(agreeing, (unsafe_mul(agreed, lanes.ONES) >> 240) << unsafe_mul(j, 9))

        assert (
            ~(counts[0] & counts[1] & counts[2] & counts[3]) & lanes.BYTE_TOPS == 0
        ), "consensus: not the median"

        # What is stored: scores without fraud, and in the spare bits of word j the checker of seat j.
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
        holders: uint256 = checkers >> (q << 6)
        m[0] |= unsafe_mul(holders & _MASK_15, lanes.TOP_STEPS) & lanes.H
        m[1] |= unsafe_mul((holders >> 16) & _MASK_15, lanes.TOP_STEPS) & lanes.H
        m[2] |= unsafe_mul((holders >> 32) & _MASK_15, lanes.TOP_STEPS) & lanes.H
        m[3] |= unsafe_mul((holders >> 48) & _MASK_15, lanes.TOP_STEPS) & lanes.H
        self._bundles[key].scores[q] = m
    # Checked once, at the end: what the loop made of such a lane is undone by the revert.
    assert invalid & lanes.H == 0, "consensus: score exceeds 15 bits"

    # 4. What each report was worth.
    deviations: uint256 = 0
    weighted: uint256 = 0
    for reporter: uint256 in reporters:
        deviating: uint256 = unsafe_sub(SHARD_LANES, agreeing & _MASK_9)
        agreeing = agreeing >> 9
        deviations |= deviating << (reporter & 255)
        weighted = unsafe_add(
            weighted, unsafe_mul(reporter >> 8, self._weight(used, deviating))
        )

    # 5. Record it.
    meta: uint256 = (
        deviations
        | (reported << _REPORTED_SHIFT)
        | (used << _LANES_SHIFT)
        | (epoch << _EPOCH_SHIFT)
    )
    if fraud != 0:
        meta |= _HAS_FRAUD
        self._bundles[key].fraud = fraud
    self._bundles[key].meta = meta
    self._bundles[key].online = online
    total: uint256 = lanes._sum_wide(sums)
    self._add_totals(epoch, total, weighted)
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
    )


@external
@view
def committee(epoch: uint256, shard: uint256) -> DynArray[uint256, MAX_SEATS]:
    """
    @notice The checker index of each seat; a seat whose checker is not active in the epoch is void.
    @param epoch The current or the previous epoch.
    @param shard The shard to be judged.
    """
    n: uint256 = (staticcall IRegistry(registry).slots_before(epoch))[1]
    members: DynArray[uint256, MAX_SEATS] = []
    if n > 0:
        seed: bytes32 = staticcall IBeacon(beacon).seed(epoch)
        k: uint256 = min(seats, n)
        offset: uint256 = draw._offset(seed, shard, n)
        for seat: uint256 in range(k, bound=MAX_SEATS):
            members.append(draw._member(seed, shard, seat, n, k, offset))
    return members


@external
@view
def has_bundle(epoch: uint256, shard: uint256) -> bool:
    """
    @notice Whether the ring holds the bundle of that epoch and shard.
    """
    return self._bundles[self._key(epoch, shard)].meta >> _EPOCH_SHIFT == epoch and epoch > 0


@external
@view
def bundle(epoch: uint256, shard: uint256) -> Bundle:
    """
    @notice What the accepted bundle left beside the scores. Reverts if the ring does not hold it.
    """
    key: uint256 = self._key(epoch, shard)
    meta: uint256 = self._meta(epoch, key)
    fraud: uint256 = 0
    if meta & _HAS_FRAUD != 0:
        fraud = self._bundles[key].fraud
    checkers: uint256 = 0
    for seat: uint256 in range(MAX_SEATS):
        checkers |= self._seat_holder(key, seat) << (16 * seat)
    return Bundle(
        reported=(meta >> _REPORTED_SHIFT) & _MASK_16,
        deviations=meta & _DEVIATIONS_MASK,
        lanes=(meta >> _LANES_SHIFT) & _MASK_16,
        online=self._bundles[key].online,
        fraud=fraud,
        checkers=checkers,
    )


@external
@view
def scores(epoch: uint256, shard: uint256) -> uint256[16]:
    """
    @notice The scores that count, sixteen to a word. Reverts if the ring does not hold the bundle.
    """
    key: uint256 = self._key(epoch, shard)
    self._meta(epoch, key)
    words: uint256[16] = empty(uint256[16])
    for w: uint256 in range(16):
        words[w] = self._bundles[key].scores[w // 4][w % 4] & ~lanes.H
    return words


@external
@view
def totals(epoch: uint256) -> (uint256, uint256):
    """
    @notice Sum of all scores, and of all weight * stake units, accepted for the epoch so far. Final once
            the epoch is closed. Zeros if the ring holds nothing of it.
    """
    return self._totals_of(epoch)


@external
@view
def provider_share(epoch: uint256, provider_index: uint256) -> (uint256, uint256):
    """
    @notice A provider's score in the epoch and the sum of all scores; the score is 0 if the ring does
            not hold the bundle.
    """
    lane: uint256 = provider_index % SHARD_LANES
    key: uint256 = self._key(epoch, provider_index // SHARD_LANES)
    if self._bundles[key].meta >> _EPOCH_SHIFT != epoch:
        return 0, 0
    word: uint256 = self._bundles[key].scores[lane // 64][lane // 16 % 4]
    score: uint256 = (word >> (16 * (lane % 16))) & lanes.MAX_SCORE
    return score, self._totals_of(epoch)[0]


@external
@view
def checker_share(epoch: uint256, shard: uint256, seat: uint256) -> (uint256, uint256, uint256):
    """
    @notice Whose seat it was, the weight of its report, and the sum of all weight * stake units; all
            zero if the seat did not report or the ring does not hold the bundle.
    """
    key: uint256 = self._key(epoch, shard)
    meta: uint256 = self._bundles[key].meta
    if meta >> _EPOCH_SHIFT != epoch or seat >= MAX_SEATS:
        return 0, 0, 0
    if (meta >> (_REPORTED_SHIFT + seat)) & 1 == 0:
        return 0, 0, 0
    checker: uint256 = self._seat_holder(key, seat)
    deviating: uint256 = (meta >> (9 * seat)) & 511
    weight: uint256 = self._weight((meta >> _LANES_SHIFT) & _MASK_16, deviating)
    return checker, weight, self._totals_of(epoch)[1]


@external
@view
def is_open(epoch: uint256) -> bool:
    """
    @notice Whether bundles of the epoch are accepted now: from its start until the end of its grace.
    """
    return self._is_open(epoch)


@external
@view
def is_closed(epoch: uint256) -> bool:
    """
    @notice Whether the epoch's grace is over, so that its totals are final.
    """
    return block.timestamp >= self._closes_at(epoch)


@external
@view
def closes_at(epoch: uint256) -> uint256:
    """
    @notice Unix seconds from which on no bundle of the epoch is accepted.
    """
    return self._closes_at(epoch)


@external
@view
def eip712Domain() -> (
    bytes1, String[6], String[1], uint256, address, bytes32, DynArray[uint256, 1]
):
    """
    @notice The signing domain, as EIP-5267 wants it: name, version, chain and this contract.
    """
    # 0x0f: of the five possible fields, all but the salt.
    return 0x0f, NAME, VERSION, chain.id, self, empty(bytes32), []


@internal
@view
def _key(epoch: uint256, shard: uint256) -> uint256:
    return unsafe_add(shard * ring_epochs, epoch % ring_epochs)


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
@view
def _meta(epoch: uint256, key: uint256) -> uint256:
    meta: uint256 = self._bundles[key].meta
    assert meta >> _EPOCH_SHIFT == epoch and epoch > 0, "consensus: no bundle"
    return meta


@internal
@view
def _seat_holder(key: uint256, seat: uint256) -> uint256:
    """
    @notice The checker index stored for a seat that reported.
    """
    return lanes._gather_tops(self._bundles[key].scores[seat >> 2][seat & 3])


@internal
@pure
def _check_unused(medians: uint256[4][4], used: uint256):
    """
    @notice Refuses a score where there is no provider.
    """
    for w: uint256 in range(16):
        # Of the sixteen lanes of this word, how many have a provider.
        mine: uint256 = max(used, 16 * w) - 16 * w
        assert medians[w // 4][w % 4] >> (16 * mine) == 0, "consensus: score without provider"


@internal
@pure
def _weight(used: uint256, deviating: uint256) -> uint256:
    """
    @notice What a report is worth. It falls from `used` to half of it as the error rate rises to one
            half, and is nothing beyond: worse than a coin earns nothing.
    """
    if unsafe_mul(2, deviating) > used:
        return 0
    return unsafe_sub(used, deviating)


@internal
@view
def _totals_of(epoch: uint256) -> (uint256, uint256):
    word: uint256 = self._totals[epoch % ring_epochs]
    if word >> _EPOCH_SHIFT != epoch:
        return 0, 0
    return (
        word & _PROVIDER_TOTAL_MASK,
        (word >> _CHECKER_TOTAL_SHIFT) & _CHECKER_TOTAL_MASK,
    )


@internal
def _add_totals(epoch: uint256, score: uint256, weighted: uint256):
    """
    @notice Adds a bundle to its epoch's totals; the first one takes the word over from an old epoch.
    """
    place: uint256 = epoch % ring_epochs
    word: uint256 = self._totals[place]
    if word >> _EPOCH_SHIFT != epoch:
        word = epoch << _EPOCH_SHIFT
    self._totals[place] = word + score + (weighted << _CHECKER_TOTAL_SHIFT)


@internal
@view
def _build_domain() -> bytes32:
    return keccak256(
        abi_encode(DOMAIN_TYPEHASH, keccak256(NAME), keccak256(VERSION), chain.id, self)
    )


@internal
@view
def _domain() -> bytes32:
    """
    @notice The domain separator, rebuilt only if the chain has forked under another id.
    """
    if chain.id == _DOMAIN_CHAIN:
        return _DOMAIN
    return self._build_domain()
