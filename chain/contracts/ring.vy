#pragma version 0.4.3
#pragma evm-version london
"""
@title What accepted bundles leave behind
@license Apache-2.0
@notice A ring of `ring_epochs` epochs: for each epoch and shard the scores, the bitmaps and what
        each report was worth, and for each epoch the totals that rewards are divided by. An entry
        names its epoch, so an old one is never taken for a new one; it is there until the bundle of
        the same shard ring_epochs later overwrites it.
@dev In steady state a bundle writes words that were written before: 5,000 gas each instead of
     22,100. A bundle takes 18 words: the sixteen of scores have a spare bit in each lane, and those
     of word j hold the index of the checker on seat j, for 5,000 gas less.
"""

from . import lanes

# A bundle as readers get it.
struct Bundle:
    reported: uint256  # bit j: seat j reported
    deviations: uint256  # 9 bits per seat j, at bit 9 * j: lanes in which its report deviates
    lanes: uint256  # provider slots of the shard allocated before the epoch, 1..256
    online: uint256  # majority bitmap
    fraud: uint256  # majority bitmap
    checkers: uint256  # 16 bits per seat j, at bit 16 * j: checker index of a seat that reported

# A bundle as stored.
struct Entry:
    # Bits 0..143 deviations, 144..159 reported, 160..175 lanes, 176 whether `fraud` is of this
    # bundle (it is written only when it is not 0), 224..255 epoch.
    meta: uint256
    online: uint256
    fraud: uint256
    # Word w is [w // 4][w % 4]. Lower 15 bits of a lane: the score. Its top bit, for lane i of word
    # j: bit i of the checker index of seat j, 0 if the seat did not report.
    scores: uint256[4][4]

# Seats that an entry has room for, and providers of a shard.
MAX_SEATS: constant(uint256) = 16
SHARD_LANES: constant(uint256) = 256

# Beacon remembers contributions for 224 epochs; rewards must not be claimable for longer.
MAX_EPOCHS: constant(uint256) = 224

_REPORTED_SHIFT: constant(uint256) = 144
_LANES_SHIFT: constant(uint256) = 160
_HAS_FRAUD: constant(uint256) = 1 << 176
_EPOCH_SHIFT: constant(uint256) = 224
_DEVIATIONS_MASK: constant(uint256) = 2**144 - 1
_MASK_9: constant(uint256) = 2**9 - 1
_MASK_16: constant(uint256) = 2**16 - 1

# An epoch's totals in one word: bits 0..95 providers, 96..223 checkers, 224..255 epoch. The sums
# stay below 2**47 (2**32 scores of 15 bits) and 2**69 (2**24 shards, 16 seats, weight 2**9, 2**32
# units).
_PROVIDER_TOTAL_MASK: constant(uint256) = 2**96 - 1
_CHECKER_TOTAL_SHIFT: constant(uint256) = 96
_CHECKER_TOTAL_MASK: constant(uint256) = 2**128 - 1

ring_epochs: public(immutable(uint256))

_entries: HashMap[uint256, Entry]  # shard * ring_epochs + epoch % ring_epochs -> bundle
_totals: HashMap[uint256, uint256]  # epoch % ring_epochs -> totals


@deploy
def __init__(ring_epochs_: uint256):
    # The current and the previous epoch are open at a time; fewer than four would leave no time to
    # claim.
    assert ring_epochs_ >= 4 and ring_epochs_ <= MAX_EPOCHS, "consensus: ring out of range"
    ring_epochs = ring_epochs_


@external
@view
def has_bundle(epoch: uint256, shard: uint256) -> bool:
    """
    @notice Whether the ring holds the bundle of that epoch and shard.
    """
    return self._holds(self._key(epoch, shard), epoch)


@external
@view
def bundle(epoch: uint256, shard: uint256) -> Bundle:
    """
    @notice What the accepted bundle left beside the scores. Reverts if the ring does not hold it.
    """
    key: uint256 = self._key(epoch, shard)
    assert self._holds(key, epoch), "consensus: no bundle"
    meta: uint256 = self._entries[key].meta
    fraud: uint256 = 0
    if meta & _HAS_FRAUD != 0:
        fraud = self._entries[key].fraud
    checkers: uint256 = 0
    for seat: uint256 in range(MAX_SEATS):
        checkers |= self._holder(key, seat) << (16 * seat)
    return Bundle(
        reported=(meta >> _REPORTED_SHIFT) & _MASK_16,
        deviations=meta & _DEVIATIONS_MASK,
        lanes=(meta >> _LANES_SHIFT) & _MASK_16,
        online=self._entries[key].online,
        fraud=fraud,
        checkers=checkers,
    )


@external
@view
def scores(epoch: uint256, shard: uint256) -> uint256[16]:
    """
    @notice The scores that count, sixteen to a word: medians, with fraud counted as 0. Reverts if
            the ring does not hold the bundle.
    """
    key: uint256 = self._key(epoch, shard)
    assert self._holds(key, epoch), "consensus: no bundle"
    words: uint256[16] = empty(uint256[16])
    for w: uint256 in range(16):
        words[w] = self._entries[key].scores[w // 4][w % 4] & ~lanes.H
    return words


@external
@view
def totals(epoch: uint256) -> (uint256, uint256):
    """
    @notice Sum of all scores, and of all weight * stake units, accepted for the epoch so far; final
            once the epoch is closed. Zeros if the ring holds nothing of it.
    """
    return self._totals_of(epoch)


@external
@view
def provider_share(epoch: uint256, provider_index: uint256) -> (uint256, uint256):
    """
    @notice A provider's score in the epoch and the sum of all scores; zeros if the ring does not
            hold the bundle.
    """
    key: uint256 = self._key(epoch, provider_index // SHARD_LANES)
    if not self._holds(key, epoch):
        return 0, 0
    lane: uint256 = provider_index % SHARD_LANES
    word: uint256 = self._entries[key].scores[lane // 64][lane // 16 % 4]
    score: uint256 = (word >> (16 * (lane % 16))) & lanes.MAX_SCORE
    return score, self._totals_of(epoch)[0]


@external
@view
def checker_share(epoch: uint256, shard: uint256, seat: uint256) -> (uint256, uint256, uint256):
    """
    @notice Whose seat it was, the weight of its report, and the sum of all weight * stake units;
            zeros if the seat did not report or the ring does not hold the bundle.
    """
    key: uint256 = self._key(epoch, shard)
    if seat >= MAX_SEATS or not self._holds(key, epoch):
        return 0, 0, 0
    meta: uint256 = self._entries[key].meta
    if (meta >> (_REPORTED_SHIFT + seat)) & 1 == 0:
        return 0, 0, 0
    deviating: uint256 = (meta >> (9 * seat)) & _MASK_9
    weight: uint256 = self._weight((meta >> _LANES_SHIFT) & _MASK_16, deviating)
    return self._holder(key, seat), weight, self._totals_of(epoch)[1]


@internal
@view
def _key(epoch: uint256, shard: uint256) -> uint256:
    return shard * ring_epochs + epoch % ring_epochs


@internal
@view
def _holds(key: uint256, epoch: uint256) -> bool:
    # No bundle is of epoch 0, before which there were no slots; an empty entry looks like it.
    return self._entries[key].meta >> _EPOCH_SHIFT == epoch and epoch > 0


@internal
@view
def _holder(key: uint256, seat: uint256) -> uint256:
    """
    @notice The checker index kept for a seat; 0 if it did not report.
    """
    return lanes._gather_tops(self._entries[key].scores[seat // 4][seat % 4])


@internal
@pure
def _weight(used: uint256, deviating: uint256) -> uint256:
    """
    @notice What a report is worth. It falls from `used` to half of it as the error rate rises to
            one half, and is nothing beyond: worse than a coin earns nothing.
    @param used Lanes in use, the denominator of the error rate.
    @param deviating Lanes in which the report deviates; more than `used` if it scores empty lanes.
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
def _record(
    key: uint256,
    epoch: uint256,
    reported: uint256,
    deviations: uint256,
    used: uint256,
    online: uint256,
    fraud: uint256,
):
    """
    @notice Stores a bundle's words but the scores, which the caller has stored.
    """
    meta: uint256 = (
        deviations
        | (reported << _REPORTED_SHIFT)
        | (used << _LANES_SHIFT)
        | (epoch << _EPOCH_SHIFT)
    )
    if fraud != 0:
        meta |= _HAS_FRAUD
        self._entries[key].fraud = fraud
    self._entries[key].meta = meta
    self._entries[key].online = online


@internal
def _add_totals(epoch: uint256, total: uint256, weighted: uint256):
    """
    @notice Adds a bundle to its epoch's totals; the epoch's first one takes over the word of an old
            epoch.
    """
    place: uint256 = epoch % ring_epochs
    word: uint256 = self._totals[place]
    if word >> _EPOCH_SHIFT != epoch:
        word = epoch << _EPOCH_SHIFT
    self._totals[place] = word + total + (weighted << _CHECKER_TOTAL_SHIFT)
