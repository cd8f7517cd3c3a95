#pragma version 0.4.3
#pragma evm-version london
"""
@title What accepted bundles leave behind
@license Apache-2.0
@notice A ring of `ring_epochs` epochs: for each epoch and shard the scores, the bitmaps and what
        each report was worth, and for each epoch its seed and the totals that rewards are divided
        by (results.vy has the layout). An entry names its epoch, so an old one is never taken for a
        new one; it is there until the bundle of the same shard ring_epochs later overwrites it.
@dev In steady state a bundle writes words that were written before: 5,000 gas each instead of
     22,100. A bundle takes 19 words, one of which is written only if a seat from 8 on reported.
     What a report earns is all in one of them, beside the epoch's: a claim reads two words for
     each report, and a bundle is read by many claims. Whose report it was follows from the epoch's
     seed, which costs nothing to keep beside the totals. So what a report earns depends on nothing
     that may change later.
"""

from . import failing
from . import results

# A bundle as stored.
struct Entry:
    halves: uint256[2]  # of the committee
    online: uint256
    fraud: uint256
    scores: uint256[4][4]  # word w is [w // 4][w % 4]

# Beacon remembers contributions for 224 epochs; rewards must not be claimable for longer.
MAX_EPOCHS: constant(uint256) = 224

# Places and epochs that one call reads at most.
MAX_READ: constant(uint256) = 64

ring_epochs: public(immutable(uint256))

_entries: HashMap[uint256, Entry]  # shard * ring_epochs + epoch % ring_epochs -> bundle
_epochs: uint256[MAX_EPOCHS]  # epoch % ring_epochs -> the epoch's word


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
def scores(epoch: uint256, shard: uint256) -> uint256[16]:
    """
    @notice The scores that count, sixteen to a word: medians, with fraud counted as 0. Reverts if
            the ring does not hold the bundle.
    """
    key: uint256 = self._found(epoch, shard)
    words: uint256[16] = empty(uint256[16])
    for w: uint256 in range(16):
        words[w] = self._entries[key].scores[w // 4][w % 4]
    return words


@external
@view
def online_map(epoch: uint256, shard: uint256) -> uint256:
    """
    @notice Which providers the majority saw online, a bit per lane; all of them if the ring does
            not hold the bundle: who is not known to have been away is not held to have been.
    """
    key: uint256 = self._key(epoch, shard)
    if not self._holds(key, epoch):
        return max_value(uint256)
    return self._entries[key].online


@external
@view
def totals(epoch: uint256) -> (uint256, uint256):
    """
    @notice Sum of all scores, and of all weight * stake units, accepted for the epoch so far; final
            once the epoch is closed. Zeros if the ring holds nothing of it.
    """
    word: uint256 = self._epoch_word(epoch)
    return results._provider_total(word), results._checker_total(word)


@external
@view
def epoch_words(first: uint256, count: uint256) -> DynArray[uint256, MAX_READ]:
    """
    @notice The words of `count` epochs from `first` on, at most 64; 0 for an epoch of which the
            ring holds nothing.
    """
    words: DynArray[uint256, MAX_READ] = []
    for i: uint256 in range(count, bound=MAX_READ):
        words.append(self._epoch_word(unsafe_add(first, i)))
    return words


@external
@view
def entries(
    places: uint256[MAX_READ], count: uint256, of_seats: bool
) -> uint256[2 * MAX_READ]:
    """
    @notice For each of the first `count` places two words: one of the bundle, and the epoch's. Of
            a seat, the word of the bundle is that of its half of the committee; of providers, it is
            word w of the scores. Zeros if the ring does not hold the bundle, or nobody of the half
            reported.
    @dev Arrays of fixed length: they are copied at once, dynamic ones word by word.
    @param places epoch << 32 | shard << 4 | seat or w for each. As w stands for sixteen providers,
           the place of a provider is epoch << 32 | index >> 4.
    """
    words: uint256[2 * MAX_READ] = empty(uint256[2 * MAX_READ])
    next: uint256 = 0
    size: uint256 = ring_epochs
    for i: uint256 in range(count, bound=MAX_READ):
        place: uint256 = places[i]
        epoch: uint256 = place >> 32
        # 28 bits of shard and at most 8 of ring: no overflow.
        at: uint256 = epoch % size
        key: uint256 = unsafe_add(unsafe_mul((place >> 4) & (2**28 - 1), size), at)
        half: uint256 = 0
        if of_seats:
            half = (place >> 3) & 1
        word: uint256 = self._entries[key].halves[half]
        if word >> results.HALF_EPOCH_SHIFT == epoch:
            epoch_word: uint256 = self._epochs[at]
            if epoch_word & results.EPOCH_MASK == epoch:
                if not of_seats:
                    word = self._entries[key].scores[(place >> 2) & 3][place & 3]
                words[next] = word
                words[unsafe_add(next, 1)] = epoch_word
        next = unsafe_add(next, 2)
    return words


@internal
@view
def _key(epoch: uint256, shard: uint256) -> uint256:
    return shard * ring_epochs + epoch % ring_epochs


@internal
@view
def _holds(key: uint256, epoch: uint256) -> bool:
    # No bundle is of epoch 0, before which there were no slots; an empty entry looks like it.
    return self._entries[key].halves[0] >> results.HALF_EPOCH_SHIFT == epoch and epoch > 0


@internal
@view
def _found(epoch: uint256, shard: uint256) -> uint256:
    """
    @notice The key of a bundle that the ring holds; reverts if it does not.
    """
    key: uint256 = self._key(epoch, shard)
    if not self._holds(key, epoch):
        failing._fail("consensus: no bundle")
    return key


@internal
@view
def _half(key: uint256, epoch: uint256, seat: uint256) -> uint256:
    """
    @notice Of a bundle that the ring holds, the half of the committee with `seat`, which is below
            16; 0 if nobody of it reported.
    """
    word: uint256 = self._entries[key].halves[unsafe_div(seat, results.HALF_SEATS)]
    if word >> results.HALF_EPOCH_SHIFT != epoch:
        return 0
    return word


@internal
@view
def _epoch_word(epoch: uint256) -> uint256:
    """
    @notice The epoch's word; 0 if the ring holds nothing of it.
    """
    word: uint256 = self._epochs[epoch % ring_epochs]
    if word & results.EPOCH_MASK != epoch:
        return 0
    return word


@internal
def _record(
    key: uint256,
    epoch: uint256,
    reported: uint256,
    deviations: uint256,
    units: uint256,
    used: uint256,
    online: uint256,
    fraud: uint256,
):
    """
    @notice Stores a bundle's words but the scores, which the caller has stored.
    """
    common: uint256 = (used << results.LANES_SHIFT) | (epoch << results.HALF_EPOCH_SHIFT)
    half: uint256 = common | results._half_of(reported, deviations, units, 0)
    if fraud != 0:
        half |= results.HAS_FRAUD
        self._entries[key].fraud = fraud
    self._entries[key].halves[0] = half
    if reported >> results.HALF_SEATS != 0:
        self._entries[key].halves[1] = common | results._half_of(reported, deviations, units, 1)
    self._entries[key].online = online
