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
     22,100. A bundle takes 18 words: the sixteen of scores have a spare bit in each lane, and those
     of word j hold the stake units of the checker on seat j, for 5,000 gas less. Which checker that
     was follows from the epoch's seed, which costs nothing to keep beside the totals. So what a
     report earns depends on nothing that may change later.
"""

from . import failing
from . import lanes
from . import results

# A bundle as stored.
struct Entry:
    meta: uint256
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
        words[w] = self._entries[key].scores[w // 4][w % 4] & ~lanes.H
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
def entries(places: uint256[MAX_READ], count: uint256) -> uint256[3 * MAX_READ]:
    """
    @notice For each of the first `count` places three words: the bundle's meta, its word of scores
            w, and the epoch's. Zeros if the ring does not hold the bundle.
    @dev Arrays of fixed length: they are copied at once, dynamic ones word by word.
    @param places epoch << 32 | shard << 4 | w for each. As w stands for sixteen providers and for a
           seat, the place of a provider is epoch << 32 | index >> 4.
    """
    words: uint256[3 * MAX_READ] = empty(uint256[3 * MAX_READ])
    next: uint256 = 0
    size: uint256 = ring_epochs
    for i: uint256 in range(count, bound=MAX_READ):
        place: uint256 = places[i]
        epoch: uint256 = place >> 32
        # 28 bits of shard and at most 8 of ring: no overflow.
        at: uint256 = epoch % size
        key: uint256 = unsafe_add(unsafe_mul((place >> 4) & (2**28 - 1), size), at)
        meta: uint256 = self._entries[key].meta
        if meta >> results.META_EPOCH_SHIFT == epoch:
            epoch_word: uint256 = self._epochs[at]
            if epoch_word & results.EPOCH_MASK == epoch:
                words[next] = meta
                words[unsafe_add(next, 1)] = self._entries[key].scores[(place >> 2) & 3][place & 3]
                words[unsafe_add(next, 2)] = epoch_word
        next = unsafe_add(next, 3)
    return words


@internal
@view
def _key(epoch: uint256, shard: uint256) -> uint256:
    return shard * ring_epochs + epoch % ring_epochs


@internal
@view
def _holds(key: uint256, epoch: uint256) -> bool:
    # No bundle is of epoch 0, before which there were no slots; an empty entry looks like it.
    return self._entries[key].meta >> results.META_EPOCH_SHIFT == epoch and epoch > 0


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
    used: uint256,
    online: uint256,
    fraud: uint256,
):
    """
    @notice Stores a bundle's words but the scores, which the caller has stored.
    """
    meta: uint256 = (
        deviations
        | (reported << results.REPORTED_SHIFT)
        | (used << results.LANES_SHIFT)
        | (epoch << results.META_EPOCH_SHIFT)
    )
    if fraud != 0:
        meta |= results.HAS_FRAUD
        self._entries[key].fraud = fraud
    self._entries[key].meta = meta
    self._entries[key].online = online
