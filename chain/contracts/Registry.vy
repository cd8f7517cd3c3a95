#pragma version 0.4.3
#pragma evm-version london
"""
@title Registry of providers and checkers
@license Apache-2.0
@notice Whoever takes part locks a stake here and gets an index: a provider's index fixes its shard
        (index // 256) and lane (index % 256), a checker's index is what committees are drawn from.
        A wallet holds at most one provider slot and one checker slot at a time.

        The Ed25519 binding between node key and wallet is stored, not checked: the EVM cannot
        afford Ed25519, so peers check it off-chain and ignore a slot whose binding is false. For
        the same reason node keys need not be unique here: a squatter's copy has no valid binding.

        There is no owner. Stake leaves only to the wallet that registered the slot.
@dev Indices are allocated in order, so the slots first allocated before an epoch are a prefix of
     all slots. Its length for the current and the previous epoch is kept (census.vy); for any epoch
     a claimed length can be verified in constant time. A slot whose tenant left and withdrew is
     given to a newcomer only `reuse_delay_epochs` after the exit. The delay is longer than
     Consensus' ring of scores, so what the old tenant may still claim is never mistaken for the
     newcomer's.
"""

from ethereum.ercs import IERC20

from . import census
from . import slots
from .interfaces import IRegistry

implements: IRegistry
initializes: census

event Registered:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    node_key: bytes32
    stake: uint256
    joined_epoch: uint256

event Left:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    exit_epoch: uint256

event Withdrawn:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    amount: uint256

# What storage holds of a slot beside its word.
struct Record:
    account: uint256  # bits 0..127 exact stake; bits 128..159 epoch of the slot's first allocation
    node_key: bytes32
    binding_r: bytes32
    binding_s: bytes32

# One slot as a node reads it.
struct Slot:
    index: uint256
    wallet: address
    node_key: bytes32
    binding_r: bytes32
    binding_s: bytes32
    created_epoch: uint256
    joined_epoch: uint256
    exit_epoch: uint256
    stake_units: uint256
    stake: uint256

# Records per page: 64 cost about 0.8M gas to read, well inside every node's eth_call cap.
MAX_PAGE: constant(uint256) = 64

# Consensus keeps a seat's checker index in 15 bits.
MAX_CHECKERS: constant(uint256) = 2**15

_STAKE_MASK: constant(uint256) = 2**128 - 1
_QUEUE_MASK: constant(uint256) = 2**128 - 1

token: public(immutable(address))
min_provider_stake: public(immutable(uint256))
min_checker_stake: public(immutable(uint256))
stake_unit: public(immutable(uint256))
genesis: public(immutable(uint256))
epoch_seconds: public(immutable(uint256))
unstake_delay_seconds: public(immutable(uint256))
reuse_delay_epochs: public(immutable(uint256))

# kind -> index -> word of the slot (slots.vy). Arrays rather than maps: a seat's word is found
# without a hash, and the committee of every bundle is looked up here.
_words: uint256[census.MAX_SLOTS][2]
_records: HashMap[uint256, HashMap[uint256, Record]]  # kind -> index -> the rest of the slot
_index_plus_one: HashMap[uint256, HashMap[address, uint256]]  # kind -> wallet -> index + 1 or 0

# kind -> head | tail << 128 of its queue of slots to be reused; place in the queue -> index.
_queues: uint256[2]
_queued: HashMap[uint256, HashMap[uint256, uint256]]


@deploy
def __init__(
    token_: address,
    min_provider_stake_: uint256,
    min_checker_stake_: uint256,
    stake_unit_: uint256,
    genesis_: uint256,
    epoch_seconds_: uint256,
    unstake_delay_seconds_: uint256,
    reuse_delay_epochs_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which stakes are held.
    @param min_provider_stake_ Least stake of a provider, in the token's smallest unit.
    @param min_checker_stake_ Least stake of a checker, in the token's smallest unit.
    @param stake_unit_ Size of one stake unit; not zero, at most either minimum, so nobody has 0
           units.
    @param genesis_ Start of epoch 0, Unix seconds.
    @param epoch_seconds_ Length of an epoch; not zero.
    @param unstake_delay_seconds_ Wait between the exit epoch's start and withdrawal.
    @param reuse_delay_epochs_ Epochs from the exit until the slot may be given to a newcomer; not
           zero.
    """
    assert token_.is_contract, "registry: token is not a contract"
    assert stake_unit_ > 0, "registry: stake unit is zero"
    assert (
        stake_unit_ <= min(min_provider_stake_, min_checker_stake_)
    ), "registry: unit exceeds minimum"
    assert epoch_seconds_ > 0, "registry: epoch length is zero"
    assert reuse_delay_epochs_ > 0, "registry: reuse delay is zero"
    token = token_
    min_provider_stake = min_provider_stake_
    min_checker_stake = min_checker_stake_
    stake_unit = stake_unit_
    genesis = genesis_
    epoch_seconds = epoch_seconds_
    unstake_delay_seconds = unstake_delay_seconds_
    reuse_delay_epochs = reuse_delay_epochs_


@external
@nonreentrant
def register_provider(
    node_key: bytes32, binding_r: bytes32, binding_s: bytes32, stake: uint256
) -> uint256:
    """
    @notice Makes the caller a provider, active from the next epoch on.
    @param node_key The node's Ed25519 public key.
    @param binding_r First half of the Ed25519 signature that binds the key to the caller's wallet.
    @param binding_s Second half of it.
    @param stake Amount pulled from the caller, who must have approved it. What arrives is credited.
    @return uint256 The provider's index.
    """
    return self._register(census.PROVIDER, node_key, binding_r, binding_s, stake)


@external
@nonreentrant
def register_checker(
    node_key: bytes32, binding_r: bytes32, binding_s: bytes32, stake: uint256
) -> uint256:
    """
    @notice Makes the caller a checker, active from the next epoch on.
    @param node_key The node's Ed25519 public key.
    @param binding_r First half of the Ed25519 signature that binds the key to the caller's wallet.
    @param binding_s Second half of it.
    @param stake Amount pulled from the caller, who must have approved it. What arrives is credited.
    @return uint256 The checker's index.
    """
    return self._register(census.CHECKER, node_key, binding_r, binding_s, stake)


@external
@nonreentrant
def leave_provider() -> uint256:
    """
    @notice Ends the caller's time as a provider with the current epoch.
    @return uint256 First epoch in which it is no longer active.
    """
    return self._leave(census.PROVIDER)


@external
@nonreentrant
def leave_checker() -> uint256:
    """
    @notice Ends the caller's time as a checker with the current epoch.
    @return uint256 First epoch in which it is no longer active.
    """
    return self._leave(census.CHECKER)


@external
@nonreentrant
def withdraw_provider(index: uint256) -> uint256:
    """
    @notice Returns the stake of a provider that left, to the wallet that registered. Anyone may
            call.
    @param index The provider's index.
    @return uint256 Amount sent.
    """
    return self._withdraw(census.PROVIDER, index)


@external
@nonreentrant
def withdraw_checker(index: uint256) -> uint256:
    """
    @notice Returns the stake of a checker that left, to the wallet that registered. Anyone may
            call.
    @param index The checker's index.
    @return uint256 Amount sent.
    """
    return self._withdraw(census.CHECKER, index)


@external
@view
def current_epoch() -> uint256:
    """
    @notice The epoch of this block's timestamp. Reverts before genesis.
    """
    return self._current_epoch()


@external
@view
def epoch_start(epoch: uint256) -> uint256:
    """
    @notice When `epoch` starts, Unix seconds.
    """
    return genesis + epoch * epoch_seconds


@external
@view
def provider_count() -> uint256:
    """
    @notice Number of provider slots ever allocated; indices run below it.
    """
    return census._count(census.PROVIDER)


@external
@view
def checker_count() -> uint256:
    """
    @notice Number of checker slots ever allocated; indices run below it.
    """
    return census._count(census.CHECKER)


@external
@view
def provider_slots_at(epoch: uint256, hint: uint256) -> uint256:
    """
    @notice Verifies in constant time how many provider slots were allocated before `epoch`.
    @param epoch Any epoch that has started.
    @param hint The claimed number.
    @return uint256 The hint; reverts if it is wrong.
    """
    self._check_prefix(census.PROVIDER, epoch, hint)
    return hint


@external
@view
def checker_slots_at(epoch: uint256, hint: uint256) -> uint256:
    """
    @notice Verifies in constant time how many checker slots were allocated before `epoch`.
    @param epoch Any epoch that has started.
    @param hint The claimed number.
    @return uint256 The hint; reverts if it is wrong.
    """
    self._check_prefix(census.CHECKER, epoch, hint)
    return hint


@external
@view
def slots_before(epoch: uint256) -> (uint256, uint256):
    """
    @notice How many provider slots and how many checker slots were allocated before `epoch`.
    @param epoch The current or the previous epoch; reverts for any other.
    @return (uint256, uint256) Provider slots, checker slots.
    """
    current: uint256 = self._current_epoch()
    assert epoch <= current and current <= epoch + 1, "registry: epoch is not current or previous"
    return census._slots_before(epoch)


@external
@view
def providers(start: uint256, count: uint256) -> DynArray[Slot, MAX_PAGE]:
    """
    @notice A page of provider slots, in order of their index.
    @param start First index.
    @param count Number of slots wanted; fewer come back at the end, and never more than 64.
    """
    return self._page(census.PROVIDER, start, count)


@external
@view
def checkers(start: uint256, count: uint256) -> DynArray[Slot, MAX_PAGE]:
    """
    @notice A page of checker slots, in order of their index.
    @param start First index.
    @param count Number of slots wanted; fewer come back at the end, and never more than 64.
    """
    return self._page(census.CHECKER, start, count)


@external
@view
def provider(index: uint256) -> Slot:
    """
    @notice One provider slot. Reverts if the index was never allocated.
    """
    assert index < census._count(census.PROVIDER), "registry: no such slot"
    return self._slot(census.PROVIDER, index)


@external
@view
def checker(index: uint256) -> Slot:
    """
    @notice One checker slot. Reverts if the index was never allocated.
    """
    assert index < census._count(census.CHECKER), "registry: no such slot"
    return self._slot(census.CHECKER, index)


@external
@view
def provider_index(wallet: address) -> (bool, uint256):
    """
    @notice Whether `wallet` holds a provider slot, and its index (0 if not). A wallet that left
            holds its slot until the stake is withdrawn.
    """
    return self._index_of(census.PROVIDER, wallet)


@external
@view
def checker_index(wallet: address) -> (bool, uint256):
    """
    @notice Whether `wallet` holds a checker slot, and its index (0 if not). A wallet that left
            holds its slot until the stake is withdrawn.
    """
    return self._index_of(census.CHECKER, wallet)


@external
@view
def provider_word(index: uint256) -> uint256:
    """
    @notice The packed word (see slots.vy) of a provider slot; 0 if the index was never allocated.
    """
    return self._words[census.PROVIDER][index]


@external
@view
def checker_word(index: uint256) -> uint256:
    """
    @notice The packed word (see slots.vy) of a checker slot; 0 if the index was never allocated.
    """
    return self._words[census.CHECKER][index]


@internal
@view
def _current_epoch() -> uint256:
    assert block.timestamp >= genesis, "registry: before genesis"
    return unsafe_div(unsafe_sub(block.timestamp, genesis), epoch_seconds)


@internal
@view
def _check_prefix(kind: uint256, epoch: uint256, hint: uint256):
    # A later registration could still lengthen the prefix of an epoch that has not started.
    assert epoch <= self._current_epoch(), "registry: epoch has not started"
    count: uint256 = census._count(kind)
    assert hint <= count, "registry: hint exceeds slots"
    if hint > 0:
        last: uint256 = self._records[kind][unsafe_sub(hint, 1)].account >> 128
        assert last < epoch, "registry: hint is too large"
    if hint < count:
        next: uint256 = self._records[kind][hint].account >> 128
        assert next >= epoch, "registry: hint is too small"


@internal
@view
def _index_of(kind: uint256, wallet: address) -> (bool, uint256):
    index_plus_one: uint256 = self._index_plus_one[kind][wallet]
    if index_plus_one == 0:
        return False, 0
    return True, index_plus_one - 1


@internal
@view
def _slot(kind: uint256, index: uint256) -> Slot:
    word: uint256 = self._words[kind][index]
    stored: Record = self._records[kind][index]
    return Slot(
        index=index,
        wallet=slots._wallet(word),
        node_key=stored.node_key,
        binding_r=stored.binding_r,
        binding_s=stored.binding_s,
        created_epoch=stored.account >> 128,
        joined_epoch=slots._joined_epoch(word),
        exit_epoch=slots._exit_epoch(word),
        stake_units=slots._units(word),
        stake=stored.account & _STAKE_MASK,
    )


@internal
@view
def _page(kind: uint256, start: uint256, count: uint256) -> DynArray[Slot, MAX_PAGE]:
    page: DynArray[Slot, MAX_PAGE] = []
    allocated: uint256 = census._count(kind)
    if start < allocated:
        length: uint256 = min(min(count, MAX_PAGE), allocated - start)
        for i: uint256 in range(length, bound=MAX_PAGE):
            page.append(self._slot(kind, start + i))
    return page


@internal
def _allocate(kind: uint256, epoch: uint256) -> (uint256, uint256):
    """
    @notice Takes the oldest free slot if its delay is over, else a new one.
    @return (index, epoch of the slot's first allocation)
    """
    queue: uint256 = self._queues[kind]
    head: uint256 = queue & _QUEUE_MASK
    if head < queue >> 128:
        free: uint256 = self._queued[kind][head]
        if slots._exit_epoch(self._words[kind][free]) + reuse_delay_epochs <= epoch:
            self._queues[kind] = queue + 1
            return free, self._records[kind][free].account >> 128

    limit: uint256 = census.MAX_SLOTS
    if kind == census.CHECKER:
        limit = MAX_CHECKERS
    return census._allocate(kind, epoch, limit), epoch


@internal
def _register(
    kind: uint256, node_key: bytes32, binding_r: bytes32, binding_s: bytes32, stake: uint256
) -> uint256:
    assert self._index_plus_one[kind][msg.sender] == 0, "registry: wallet already holds a slot"
    assert node_key != empty(bytes32), "registry: node key is zero"
    epoch: uint256 = self._current_epoch()

    # Credit what arrived, not what was asked for: the token may take a fee.
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, stake, default_return_value=True
    ), "registry: transfer failed"
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before

    minimum: uint256 = min_provider_stake
    if kind == census.CHECKER:
        minimum = min_checker_stake
    assert received >= minimum, "registry: stake is too small"
    units: uint256 = received // stake_unit
    assert units <= slots.MAX_UNITS and received <= _STAKE_MASK, "registry: stake is too large"

    index: uint256 = 0
    created_epoch: uint256 = 0
    index, created_epoch = self._allocate(kind, epoch)
    self._words[kind][index] = slots._pack(msg.sender, epoch + 1, units)
    self._records[kind][index] = Record(
        account=received | (created_epoch << 128),
        node_key=node_key,
        binding_r=binding_r,
        binding_s=binding_s,
    )
    self._index_plus_one[kind][msg.sender] = index + 1
    log Registered(
        kind=kind,
        index=index,
        wallet=msg.sender,
        node_key=node_key,
        stake=received,
        joined_epoch=epoch + 1,
    )
    return index


@internal
def _leave(kind: uint256) -> uint256:
    index_plus_one: uint256 = self._index_plus_one[kind][msg.sender]
    assert index_plus_one > 0, "registry: wallet holds no slot"
    index: uint256 = index_plus_one - 1
    word: uint256 = self._words[kind][index]
    assert slots._exit_epoch(word) == slots.NO_EXIT, "registry: already left"
    exit_epoch: uint256 = self._current_epoch() + 1
    self._words[kind][index] = slots._with_exit(word, exit_epoch)
    log Left(kind=kind, index=index, wallet=msg.sender, exit_epoch=exit_epoch)
    return exit_epoch


@internal
def _withdraw(kind: uint256, index: uint256) -> uint256:
    word: uint256 = self._words[kind][index]
    exit_epoch: uint256 = slots._exit_epoch(word)
    account: uint256 = self._records[kind][index].account
    amount: uint256 = account & _STAKE_MASK
    assert amount > 0, "registry: nothing to withdraw"
    assert exit_epoch != slots.NO_EXIT, "registry: has not left"
    unlocks_at: uint256 = genesis + exit_epoch * epoch_seconds + unstake_delay_seconds
    assert block.timestamp >= unlocks_at, "registry: unstake delay is not over"

    # The word stays: Rewards pays what the old tenant earned until the slot is reused.
    wallet: address = slots._wallet(word)
    self._records[kind][index].account = account - amount
    self._index_plus_one[kind][wallet] = 0
    queue: uint256 = self._queues[kind]
    self._queued[kind][queue >> 128] = index
    self._queues[kind] = queue + (1 << 128)

    assert extcall IERC20(token).transfer(
        wallet, amount, default_return_value=True
    ), "registry: transfer failed"
    log Withdrawn(kind=kind, index=index, wallet=wallet, amount=amount)
    return amount
