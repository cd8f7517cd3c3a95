#pragma version 0.4.3
#pragma evm-version london
"""
@title Tenants of the slots, and their stakes
@license Apache-2.0
@notice The bookkeeping of the Registry: who holds which slot, since when, until when, and with what
        stake. Money moves in Registry.vy only; here it is counted.
@dev Indices are allocated in order, so the slots first allocated before an epoch are a prefix of
     all slots, whose length is kept (census.vy). A slot whose tenant left and withdrew is given to
     a newcomer only `reuse_delay_epochs` after the exit. The delay is longer than
     Consensus' ring of scores, so what the old tenant may still claim is never mistaken for the
     newcomer's.
"""

from . import census
from . import failing
from . import slots

uses: census

# What storage holds of a slot beside its word.
struct Record:
    # Bits 0..127 exact stake; 128..159 epoch of the slot's first allocation; 160..191 first epoch
    # of the tenancy, which no suspension changes; 192..207 units delegated to a checker.
    account: uint256
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
    since_epoch: uint256
    scored_stake: uint256  # what counts for the scores of the current epoch

event Left:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    exit_epoch: uint256

# Records per page: 64 cost about 0.9M gas to read, well inside every node's eth_call cap.
MAX_PAGE: constant(uint256) = 64

STAKE_MASK: constant(uint256) = 2**128 - 1
_CREATED_SHIFT: constant(uint256) = 128
_SINCE_SHIFT: constant(uint256) = 160
_DELEGATED_SHIFT: constant(uint256) = 192
_DELEGATED_MASK: constant(uint256) = (2**16 - 1) << _DELEGATED_SHIFT
_MASK_32: constant(uint256) = 2**32 - 1
_QUEUE_MASK: constant(uint256) = 2**128 - 1

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

# kind -> index -> what was added to the stake in an epoch | that epoch << 128. As it names its epoch,
# nobody has to clear it.
_added: HashMap[uint256, HashMap[uint256, uint256]]

_barred_until: HashMap[address, uint256]  # wallet -> first epoch in which it may be a checker again

# kind -> head | tail << 128 of its queue of slots to be reused; place in the queue -> index.
_queues: uint256[2]
_queued: HashMap[uint256, HashMap[uint256, uint256]]


@deploy
def __init__(
    stake_unit_: uint256,
    genesis_: uint256,
    epoch_seconds_: uint256,
    unstake_delay_seconds_: uint256,
    reuse_delay_epochs_: uint256,
):
    assert stake_unit_ > 0, "registry: stake unit is zero"
    assert epoch_seconds_ > 0, "registry: epoch length is zero"
    assert reuse_delay_epochs_ > 0, "registry: reuse delay is zero"
    stake_unit = stake_unit_
    genesis = genesis_
    epoch_seconds = epoch_seconds_
    unstake_delay_seconds = unstake_delay_seconds_
    reuse_delay_epochs = reuse_delay_epochs_


@internal
@view
def _current_epoch() -> uint256:
    if block.timestamp < genesis:
        failing._fail("registry: before genesis")
    return unsafe_div(unsafe_sub(block.timestamp, genesis), epoch_seconds)


@internal
@view
def _since_epoch(kind: uint256, index: uint256) -> uint256:
    return (self._records[kind][index].account >> _SINCE_SHIFT) & _MASK_32


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
    if index >= census._count(kind):
        failing._fail("registry: no such slot")
    word: uint256 = self._words[kind][index]
    stored: Record = self._records[kind][index]
    stake: uint256 = stored.account & STAKE_MASK
    added: uint256 = self._added[kind][index]
    scored: uint256 = stake
    # A top-up waits for the next epoch. What is slashed is taken from the older stake, at once.
    if added >> 128 == self._current_epoch():
        scored -= min(stake, added & STAKE_MASK)
    return Slot(
        index=index,
        wallet=slots._wallet(word),
        node_key=stored.node_key,
        binding_r=stored.binding_r,
        binding_s=stored.binding_s,
        created_epoch=(stored.account >> _CREATED_SHIFT) & _MASK_32,
        joined_epoch=slots._joined_epoch(word),
        exit_epoch=slots._exit_epoch(word),
        stake_units=slots._units(word),
        stake=stake,
        since_epoch=(stored.account >> _SINCE_SHIFT) & _MASK_32,
        scored_stake=scored,
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
@view
def _check_fits(stake: uint256):
    if stake > STAKE_MASK or stake // stake_unit > slots.MAX_UNITS:
        failing._fail("registry: stake is too large")


@internal
@view
def _weigh(kind: uint256, account: uint256) -> uint256:
    """
    @notice What an account's stake weighs. Own and delegated stake count in whole units each; and
            whoever has no stake of its own left weighs nothing, whatever others entrusted to it.
    """
    units: uint256 = (account & STAKE_MASK) // stake_unit
    if kind == census.CHECKER and units > 0:
        units = min(units + (account >> _DELEGATED_SHIFT), slots.MAX_CHECKER_UNITS)
    return units


@internal
def _store(kind: uint256, index: uint256, account: uint256) -> uint256:
    """
    @notice Writes a tenant's account, and what it weighs now.
    @return uint256 The tenant's word.
    """
    word: uint256 = slots._with_units(self._words[kind][index], self._weigh(kind, account))
    self._records[kind][index].account = account
    self._words[kind][index] = word
    return word


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
            return free, (self._records[kind][free].account >> _CREATED_SHIFT) & _MASK_32
    return census._allocate(kind, epoch), epoch


@internal
def _enlist(
    kind: uint256,
    wallet: address,
    node_key: bytes32,
    binding_r: bytes32,
    binding_s: bytes32,
    stake: uint256,
) -> (uint256, uint256):
    """
    @notice Gives a slot to a newcomer.
    @return (index, first epoch in which it is active)
    """
    epoch: uint256 = self._current_epoch()
    joined: uint256 = epoch + 1
    if kind == census.CHECKER:
        if self._barred_until[wallet] > joined:
            failing._fail("registry: wallet is barred")
    index: uint256 = 0
    created: uint256 = 0
    index, created = self._allocate(kind, epoch)
    self._check_fits(stake)
    account: uint256 = stake | (created << _CREATED_SHIFT) | (joined << _SINCE_SHIFT)
    self._words[kind][index] = slots._pack(wallet, joined, self._weigh(kind, account))
    self._records[kind][index] = Record(
        account=account, node_key=node_key, binding_r=binding_r, binding_s=binding_s
    )
    self._index_plus_one[kind][wallet] = index + 1
    return index, joined


@internal
def _end(kind: uint256, index: uint256, word: uint256) -> uint256:
    """
    @notice Ends a tenancy that has not ended. What happens in an epoch does not change who is
            active in it: the tenant is active to its end, or was to the begin of the suspension
            that it does not wait for.
    @return uint256 First epoch in which it is not active.
    """
    epoch: uint256 = self._current_epoch()
    ended: uint256 = slots._with_exit(word, epoch + 1)
    if slots._is_suspended(word) and epoch < slots._joined_epoch(word):
        ended = slots._with_joined(word, self._since_epoch(kind, index))
    self._words[kind][index] = ended
    exit_epoch: uint256 = slots._exit_epoch(ended)
    log Left(kind=kind, index=index, wallet=slots._wallet(word), exit_epoch=exit_epoch)
    return exit_epoch


@internal
def _leave(kind: uint256, wallet: address) -> uint256:
    """
    @notice Ends a tenancy for its own tenant.
    @return uint256 First epoch in which it is not active.
    """
    index_plus_one: uint256 = self._index_plus_one[kind][wallet]
    if index_plus_one == 0:
        failing._fail("registry: wallet holds no slot")
    index: uint256 = index_plus_one - 1
    word: uint256 = self._words[kind][index]
    if slots._has_left(word):
        failing._fail("registry: already left")
    return self._end(kind, index, word)


@internal
def _release(kind: uint256, index: uint256) -> (address, uint256):
    """
    @notice Takes a slot back from a tenant that left, when its delay is over.
    @return (its wallet, its stake, which is now owed to the wallet)
    """
    # The word stays: Rewards pays what the old tenant earned until the slot is reused.
    word: uint256 = self._words[kind][index]
    wallet: address = slots._wallet(word)
    # A stake of 0 does not tell: it may have been slashed, and the slot has to come back.
    if self._index_plus_one[kind][wallet] != index + 1:
        failing._fail("registry: nothing to withdraw")
    if not slots._has_left(word):
        failing._fail("registry: has not left")
    unlocks_at: uint256 = (
        genesis + slots._exit_epoch(word) * epoch_seconds + unstake_delay_seconds
    )
    if block.timestamp < unlocks_at:
        failing._fail("registry: unstake delay is not over")

    account: uint256 = self._records[kind][index].account
    amount: uint256 = account & STAKE_MASK
    self._records[kind][index].account = account - amount
    self._index_plus_one[kind][wallet] = 0
    queue: uint256 = self._queues[kind]
    self._queued[kind][queue >> 128] = index
    self._queues[kind] = queue + (1 << 128)
    return wallet, amount


@internal
def _add(kind: uint256, index: uint256, amount: uint256) -> uint256:
    """
    @notice Adds to a tenant's stake.
    @return uint256 Its stake now.
    """
    if slots._has_left(self._words[kind][index]):
        failing._fail("registry: already left")
    epoch: uint256 = self._current_epoch()
    added: uint256 = self._added[kind][index]
    if added >> 128 != epoch:
        added = epoch << 128
    # 128 bits of additions in one epoch are more than any token has, and harm a view only.
    self._added[kind][index] = added + amount
    account: uint256 = self._records[kind][index].account
    stake: uint256 = (account & STAKE_MASK) + amount
    self._check_fits(stake)
    self._store(kind, index, account + amount)
    return stake


@internal
def _take(kind: uint256, index: uint256, amount: uint256) -> (uint256, uint256, uint256):
    """
    @notice Takes from a tenant's stake, be it still there or on its way out.
    @return (what was taken: at most its stake, what is left, the tenant's word)
    """
    account: uint256 = self._records[kind][index].account
    stake: uint256 = account & STAKE_MASK
    taken: uint256 = min(amount, stake)
    word: uint256 = self._store(kind, index, unsafe_sub(account, taken))
    return taken, unsafe_sub(stake, taken), word


@internal
def _set_delegated(index: uint256, amount: uint256):
    """
    @notice Sets what is delegated to the checker that holds the slot now.
    """
    account: uint256 = self._records[census.CHECKER][index].account & ~_DELEGATED_MASK
    units: uint256 = min(amount // stake_unit, slots.MAX_CHECKER_UNITS)
    self._store(census.CHECKER, index, account | (units << _DELEGATED_SHIFT))


@internal
def _suspend(index: uint256, until_epoch: uint256) -> (address, uint256, uint256):
    """
    @notice Keeps a checker out of the epochs from the next one up to `until_epoch`, and its wallet
            from coming back otherwise. A suspension that it is under already is prolonged, if
            anything; so is one that ends in this very epoch, because a word has room for one gap.
    @param until_epoch First epoch in which it may take part again, at least one after the next;
           NO_EXIT ends the tenancy.
    @return (wallet, first epoch in which it is not active, first in which the wallet may be again)
    """
    word: uint256 = self._words[census.CHECKER][index]
    wallet: address = slots._wallet(word)
    barred: uint256 = max(self._barred_until[wallet], until_epoch)
    self._barred_until[wallet] = barred
    exit_epoch: uint256 = slots._exit_epoch(word)
    if not slots._has_left(word):
        if barred == slots.NO_EXIT:
            return wallet, self._end(census.CHECKER, index, word), barred
        epoch: uint256 = self._current_epoch()
        if not slots._is_suspended(word) or slots._joined_epoch(word) < epoch:
            exit_epoch = epoch + 1
            word = slots._with_exit(word, exit_epoch)
        self._words[census.CHECKER][index] = slots._with_joined(word, barred)
    return wallet, exit_epoch, barred
