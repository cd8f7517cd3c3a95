#pragma version 0.4.3
#pragma evm-version london
"""
@title Beacon of epoch seeds
@license Apache-2.0
@notice The seed of an epoch decides its committees. It comes from secrets that checkers committed
        to in an earlier epoch and revealed in the one before, each mixed with the hash of the block
        before its own. Nobody knows it before the last of these contributions; prevrandao, which is
        always 0 on peaq, plays no part. Without any contribution it can be computed beforehand.

        Each contribution does accumulator = keccak256(accumulator, secret, blockhash(number - 1)).
        The first interaction of an epoch freezes seed(e): the first 96 bits of
        keccak256(accumulator, uint256(e)), then 128 zero bits, then uint32(e). What is contributed
        during e reaches the seed of e + 1 and no earlier one. 96 bits are far more than anybody can
        search through, and the gap is where Consensus keeps an epoch's totals (results.vy), so that
        a committee can be drawn again, for as long as its bundle is there, for the price of a word
        that is read anyway.

        A checker can only choose to reveal or not, and whoever withholds in an epoch forfeits its
        checker reward of that epoch (Rewards asks `contributed`). The last one to reveal has that
        one bit of influence per epoch, at that price.
"""

from . import contributions
from . import slots
from .interfaces import IBeacon
from .interfaces import IRegistry

implements: IBeacon

event Committed:
    epoch: indexed(uint256)
    checker_index: indexed(uint256)
    commitment: bytes32

event Contributed:
    epoch: indexed(uint256)
    checker_index: indexed(uint256)
    secret: bytes32
    next_commitment: bytes32

event SeedFrozen:
    epoch: indexed(uint256)
    seed: bytes32
    accumulator: bytes32  # as of the epoch's start

_EPOCH_MASK: constant(uint256) = 2**32 - 1

# Seeds that are kept: those of all epochs whose bundles Consensus may still hold, and some more.
_KEPT_SEEDS: constant(uint256) = 256

_RANDOM_MASK: constant(uint256) = (2**96 - 1) << 160

registry: public(immutable(address))
_GENESIS: immutable(uint256)
_EPOCH_SECONDS: immutable(uint256)

accumulator: public(bytes32)

# Epoch % 256 -> the last seed that was frozen there. A seed ends in its epoch, which tells whether
# the place holds the seed that is asked for: Consensus reads one word instead of two.
_seeds: uint256[_KEPT_SEEDS]
_commitments: HashMap[uint256, bytes32]  # checker index -> commitment
_histories: HashMap[uint256, uint256]  # checker index -> record (contributions.vy)


@deploy
def __init__(registry_: address):
    """
    @notice Starts the accumulator from this chain, this contract and the last block.
    @param registry_ The Registry whose checkers contribute.
    """
    assert registry_.is_contract, "beacon: registry is not a contract"
    registry = registry_
    _GENESIS = staticcall IRegistry(registry_).genesis()
    _EPOCH_SECONDS = staticcall IRegistry(registry_).epoch_seconds()
    start: bytes32 = keccak256(abi_encode(chain.id, self, blockhash(block.number - 1)))
    self.accumulator = start
    # Epoch 0 is frozen at once: an empty place would look like its seed.
    self._freeze_one(0)


@external
def commit(checker_index: uint256, commitment: bytes32):
    """
    @notice Stores the caller's commitment: its first, or one replacing a lost secret. It can be
            opened from the next epoch on, so replacing one skips this epoch's contribution and its
            reward.
    @param checker_index The caller's checker index. It need not be active yet, but must not have
           left.
    @param commitment keccak256 of a 32-byte secret; not zero.
    """
    epoch: uint256 = self._freeze()
    word: uint256 = self._own_word(checker_index)
    assert slots._has_future(word, epoch), "beacon: checker has left"
    history: uint256 = contributions._aged(self._histories[checker_index], epoch)
    self._store(checker_index, epoch, history, commitment)
    log Committed(epoch=epoch, checker_index=checker_index, commitment=commitment)


@external
def contribute(checker_index: uint256, secret: bytes32, next_commitment: bytes32):
    """
    @notice Opens the commitment made in an earlier epoch and makes the next. At most once per
            epoch, because the new commitment is of this epoch and cannot be opened in it.
    @param checker_index The caller's checker index; it must be active in the current epoch.
    @param secret What keccak256 turns into the stored commitment.
    @param next_commitment keccak256 of the next 32-byte secret; not zero.
    """
    epoch: uint256 = self._freeze()
    assert slots._is_active(self._own_word(checker_index), epoch), "beacon: checker is not active"
    history: uint256 = self._histories[checker_index]
    assert keccak256(secret) == self._commitments[checker_index], "beacon: secret does not match"
    assert history & _EPOCH_MASK < epoch, "beacon: commitment is of this epoch"

    self.accumulator = keccak256(
        abi_encode(self.accumulator, secret, blockhash(unsafe_sub(block.number, 1)))
    )
    history = contributions._aged(history, epoch) | (1 << 32)
    self._store(checker_index, epoch, history, next_commitment)
    log Contributed(
        epoch=epoch, checker_index=checker_index, secret=secret, next_commitment=next_commitment
    )


@external
@view
def seed(epoch: uint256) -> bytes32:
    """
    @notice The seed of the current or the previous epoch, and of an older one in which somebody
            called this contract while it is among the last 256; reverts for any other.
    """
    stored: uint256 = self._seeds[epoch % _KEPT_SEEDS]
    if stored & _EPOCH_MASK != epoch:
        current: uint256 = self._current_epoch()
        assert epoch <= current and current <= epoch + 1, "beacon: no seed for this epoch"
        # Nobody has called the contract since: the accumulator is still that of the epoch's start.
        stored = self._derive(self.accumulator, epoch)
    return convert(stored, bytes32)


@external
@view
def contributed(epoch: uint256, checker_index: uint256) -> bool:
    """
    @notice Whether the checker slot contributed in `epoch`. Remembered for the 224 epochs up to its
            latest commitment; False beyond.
    """
    return contributions._contributed(self._histories[checker_index], epoch)


@external
@view
def history(checker_index: uint256) -> uint256:
    """
    @notice What `contributed` goes by, in one word for many epochs (contributions.vy).
    """
    return self._histories[checker_index]


@external
@view
def commitment(checker_index: uint256) -> (bytes32, uint256):
    """
    @notice The slot's commitment (zero if it never made one) and the epoch in which it was stored.
    """
    return self._commitments[checker_index], self._histories[checker_index] & _EPOCH_MASK


@internal
@view
def _own_word(checker_index: uint256) -> uint256:
    word: uint256 = staticcall IRegistry(registry).checker_word(checker_index)
    assert slots._wallet(word) == msg.sender, "beacon: caller is not the checker"
    return word


@internal
@view
def _current_epoch() -> uint256:
    return (block.timestamp - _GENESIS) // _EPOCH_SECONDS


@internal
@pure
def _derive(accumulator: bytes32, epoch: uint256) -> uint256:
    """
    @notice The seed of `epoch`, given the accumulator at its start.
    """
    digest: uint256 = convert(keccak256(abi_encode(accumulator, epoch)), uint256)
    return (digest & _RANDOM_MASK) | epoch


@internal
def _freeze() -> uint256:
    """
    @notice Fixes the current epoch's seed, once, before anything of this epoch reaches the
            accumulator.
    @return uint256 The current epoch.
    """
    current: uint256 = self._current_epoch()
    if self._seeds[current % _KEPT_SEEDS] & _EPOCH_MASK != current:
        # Bundles of the previous epoch are accepted in its grace period and need its seed. If
        # nobody touched the contract in that epoch, its seed follows from the same accumulator.
        previous: uint256 = current - 1
        if self._seeds[previous % _KEPT_SEEDS] & _EPOCH_MASK != previous:
            self._freeze_one(previous)
        self._freeze_one(current)
    return current


@internal
def _freeze_one(epoch: uint256):
    accumulator: bytes32 = self.accumulator
    seed_: uint256 = self._derive(accumulator, epoch)
    self._seeds[epoch % _KEPT_SEEDS] = seed_
    log SeedFrozen(epoch=epoch, seed=convert(seed_, bytes32), accumulator=accumulator)


@internal
def _store(checker_index: uint256, epoch: uint256, history: uint256, commitment_: bytes32):
    assert commitment_ != empty(bytes32), "beacon: commitment is zero"
    self._commitments[checker_index] = commitment_
    self._histories[checker_index] = history
