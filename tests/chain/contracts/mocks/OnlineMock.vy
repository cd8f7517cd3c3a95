#pragma version 0.4.3
#pragma evm-version london
"""
@title Put in Consensus' place: bundles are what the test says
@license Apache-2.0
@notice Keeps them in a ring as Consensus does, and hands out the same words.
"""

registry: public(immutable(address))
grace_seconds: public(immutable(uint256))
ring_epochs: public(immutable(uint256))

struct Entry:
    epoch: uint256
    online: uint256
    scores: uint256[16]
    total: uint256

_entries: HashMap[uint256, HashMap[uint256, Entry]]  # shard -> epoch % ring -> bundle


@deploy
def __init__(registry_: address, grace_seconds_: uint256, ring_epochs_: uint256):
    registry = registry_
    grace_seconds = grace_seconds_
    ring_epochs = ring_epochs_


@external
def set_bundle(
    epoch: uint256, shard: uint256, online: uint256, scores: uint256[16], total: uint256
):
    self._entries[shard][epoch % ring_epochs] = Entry(
        epoch=epoch, online=online, scores=scores, total=total
    )


@external
@view
def online_map(epoch: uint256, shard: uint256) -> uint256:
    entry: Entry = self._entries[shard][epoch % ring_epochs]
    if epoch == 0 or entry.epoch != epoch:
        return max_value(uint256)
    return entry.online


@external
@view
def entries(places: uint256[64], count: uint256, of_seats: bool) -> uint256[128]:
    assert not of_seats
    words: uint256[128] = empty(uint256[128])
    for i: uint256 in range(count, bound=64):
        epoch: uint256 = places[i] >> 32
        entry: Entry = self._entries[(places[i] >> 4) & (2**28 - 1)][epoch % ring_epochs]
        if epoch > 0 and entry.epoch == epoch:
            words[2 * i] = entry.scores[places[i] & 15]
            words[2 * i + 1] = epoch | (entry.total << 32)
    return words
