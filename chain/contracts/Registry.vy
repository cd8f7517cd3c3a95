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

        Stake leaves to the wallet that registered the slot, or, when Penalties has seen proof of an
        offence, to Penalties. Nobody else has a way to it: the Steward can raise the minimum that
        newcomers need and stop new bundles for a while, and Delegation can change what a checker
        weighs.
@dev Three of the contracts that this one listens to are deployed after it, so their addresses are
     predicted by the deployer, and each of them checks that it is the one that was meant.
"""

from ethereum.ercs import IERC20

from . import census
from . import failing
from . import slots
from . import tenants
from .interfaces import IRegistry
from .interfaces import ISteward

implements: IRegistry
initializes: census
initializes: tenants[census := census]

exports: (
    tenants.stake_unit,
    tenants.genesis,
    tenants.epoch_seconds,
    tenants.unstake_delay_seconds,
    tenants.reuse_delay_epochs,
)

event Registered:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    node_key: bytes32
    stake: uint256
    joined_epoch: uint256

event StakeAdded:
    kind: indexed(uint256)
    index: indexed(uint256)
    payer: indexed(address)
    amount: uint256
    stake: uint256

event Withdrawn:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    amount: uint256

event Slashed:
    kind: indexed(uint256)
    index: indexed(uint256)
    wallet: indexed(address)
    amount: uint256
    left: uint256

event Suspended:
    index: indexed(uint256)
    wallet: indexed(address)
    from_epoch: uint256
    until_epoch: uint256

event DelegatedStake:
    index: indexed(uint256)
    amount: uint256

event BundlesPaused:
    until: uint256

token: public(immutable(address))
steward: public(immutable(address))
penalties: public(immutable(address))
delegation: public(immutable(address))


@deploy
def __init__(
    token_: address,
    steward_: address,
    penalties_: address,
    delegation_: address,
    stake_unit_: uint256,
    genesis_: uint256,
    epoch_seconds_: uint256,
    unstake_delay_seconds_: uint256,
    reuse_delay_epochs_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which stakes are held.
    @param steward_ Where the Steward will be: it knows the least stakes and may pause bundles.
    @param penalties_ Where Penalties will be, the only one that may slash and suspend.
    @param delegation_ Where Delegation will be: it says what is delegated to a checker.
    @param stake_unit_ Size of one stake unit; not zero.
    @param genesis_ Start of epoch 0, Unix seconds.
    @param epoch_seconds_ Length of an epoch; not zero.
    @param unstake_delay_seconds_ Wait between the exit epoch's start and withdrawal.
    @param reuse_delay_epochs_ Epochs from the exit until the slot may be given to a newcomer; not
           zero.
    """
    tenants.__init__(
        stake_unit_, genesis_, epoch_seconds_, unstake_delay_seconds_, reuse_delay_epochs_
    )
    assert token_.is_contract, "registry: token is not a contract"
    token = token_
    steward = steward_
    penalties = penalties_
    delegation = delegation_


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
def top_up_provider(index: uint256, amount: uint256) -> uint256:
    """
    @notice Adds to the stake of a provider that has not left. Anybody may pay; it becomes the
            provider's. For scores it counts from the next epoch on.
    @param index The provider's index.
    @param amount Amount pulled from the caller, who must have approved it. What arrives is
           credited.
    @return uint256 The provider's stake now.
    """
    return self._top_up(census.PROVIDER, index, amount)


@external
@nonreentrant
def top_up_checker(index: uint256, amount: uint256) -> uint256:
    """
    @notice Adds to the stake of a checker that has not left, suspended or not. Anybody may pay; it
            becomes the checker's.
    @param index The checker's index.
    @param amount Amount pulled from the caller, who must have approved it. What arrives is
           credited.
    @return uint256 The checker's stake now.
    """
    return self._top_up(census.CHECKER, index, amount)


@external
@nonreentrant
def leave_provider() -> uint256:
    """
    @notice Ends the caller's time as a provider with the current epoch.
    @return uint256 First epoch in which it is no longer active.
    """
    return tenants._leave(census.PROVIDER, msg.sender)


@external
@nonreentrant
def leave_checker() -> uint256:
    """
    @notice Ends the caller's time as a checker with the current epoch, or with the suspension that
            it does not wait for.
    @return uint256 First epoch in which it is no longer active.
    """
    return tenants._leave(census.CHECKER, msg.sender)


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
@nonreentrant
def slash(kind: uint256, index: uint256, amount: uint256, eject: bool) -> uint256:
    """
    @notice Takes stake and sends it to Penalties, which alone may call. A tenant that left and has
            not withdrawn pays as well. What happens in an epoch does not change who is active in
            it, so an ejected tenant is active until the next.
    @param kind 0 for a provider, 1 for a checker.
    @param index Its index.
    @param amount What to take; the whole stake if that is less.
    @param eject Whether to end the tenancy. It ends anyhow when what is left is below the minimum.
    @return uint256 What was taken.
    """
    self._check_caller(penalties)
    taken: uint256 = 0
    left: uint256 = 0
    word: uint256 = 0
    taken, left, word = tenants._take(kind, index, amount)
    if taken > 0:
        log Slashed(
            kind=kind, index=index, wallet=slots._wallet(word), amount=taken, left=left
        )
        if not slots._has_left(word):
            if eject or left < self._minimum(kind):
                tenants._end(kind, index, word)
        self._send(penalties, taken)
    return taken


@external
def suspend_checker(index: uint256, until_epoch: uint256) -> uint256:
    """
    @notice Keeps a checker out from the next epoch on, and its wallet from registering as a checker
            meanwhile. Only Penalties may call. The stake is not touched, and the checker may leave.
    @param index The checker's index; one that left is only barred.
    @param until_epoch First epoch in which it may take part again, at least one after the next;
           2**32 - 1 ends the tenancy and bars the wallet for good.
    @return uint256 The epoch until which it is kept out, later if it already was for longer.
    """
    self._check_caller(penalties)
    wallet: address = empty(address)
    from_epoch: uint256 = 0
    barred: uint256 = 0
    wallet, from_epoch, barred = tenants._suspend(index, until_epoch)
    log Suspended(index=index, wallet=wallet, from_epoch=from_epoch, until_epoch=barred)
    return barred


@external
def set_delegated(index: uint256, amount: uint256):
    """
    @notice Says how much stake others entrusted to the checker that holds the slot now: it counts
            in the checker's units. Only Delegation, which has that stake, may call.
    @param index The checker's index.
    @param amount What is delegated, in the token's smallest unit.
    """
    self._check_caller(delegation)
    tenants._set_delegated(index, amount)
    log DelegatedStake(index=index, amount=amount)


@external
def pause_bundles(until: uint256):
    """
    @notice Takes no bundles before `until`. Only the Steward, which bounds the time, may call.
            Nothing else is ever paused.
    @param until Unix seconds; a time that is over ends a pause.
    """
    self._check_caller(steward)
    census._pause(until)
    log BundlesPaused(until=until)


@external
@view
def current_epoch() -> uint256:
    """
    @notice The epoch of this block's timestamp. Reverts before genesis.
    """
    return tenants._current_epoch()


@external
@view
def epoch_start(epoch: uint256) -> uint256:
    """
    @notice When `epoch` starts, Unix seconds.
    """
    return tenants.genesis + epoch * tenants.epoch_seconds


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
def slots_before(epoch: uint256) -> (uint256, uint256):
    """
    @notice How many provider slots and how many checker slots were allocated before `epoch`.
    @param epoch The current or the previous epoch; reverts for any other.
    @return (uint256, uint256) Provider slots, checker slots.
    """
    return self._slots_before(epoch)


@external
@view
def bundle_slots(epoch: uint256) -> (uint256, uint256):
    """
    @notice As slots_before, for whoever settles a shard: reverts while bundles are paused.
    @param epoch The current or the previous epoch; reverts for any other.
    @return (uint256, uint256) Provider slots, checker slots.
    """
    if census._paused_until() > block.timestamp:
        failing._fail("registry: bundles are paused")
    return self._slots_before(epoch)


@external
@view
def paused_until() -> uint256:
    """
    @notice Unix seconds from which on bundles are taken; 0 if they were never paused.
    """
    return census._paused_until()


@external
@view
def providers(start: uint256, count: uint256) -> DynArray[tenants.Slot, tenants.MAX_PAGE]:
    """
    @notice A page of provider slots, in order of their index.
    @param start First index.
    @param count Number of slots wanted; fewer come back at the end, and never more than 64.
    """
    return tenants._page(census.PROVIDER, start, count)


@external
@view
def checkers(start: uint256, count: uint256) -> DynArray[tenants.Slot, tenants.MAX_PAGE]:
    """
    @notice A page of checker slots, in order of their index.
    @param start First index.
    @param count Number of slots wanted; fewer come back at the end, and never more than 64.
    """
    return tenants._page(census.CHECKER, start, count)


@external
@view
def provider(index: uint256) -> tenants.Slot:
    """
    @notice One provider slot. Reverts if the index was never allocated.
    """
    return tenants._slot(census.PROVIDER, index)


@external
@view
def checker(index: uint256) -> tenants.Slot:
    """
    @notice One checker slot. Reverts if the index was never allocated.
    """
    return tenants._slot(census.CHECKER, index)


@external
@view
def provider_index(wallet: address) -> (bool, uint256):
    """
    @notice Whether `wallet` holds a provider slot, and its index (0 if not). A wallet that left
            holds its slot until the stake is withdrawn.
    """
    return tenants._index_of(census.PROVIDER, wallet)


@external
@view
def checker_index(wallet: address) -> (bool, uint256):
    """
    @notice Whether `wallet` holds a checker slot, and its index (0 if not). A wallet that left
            holds its slot until the stake is withdrawn.
    """
    return tenants._index_of(census.CHECKER, wallet)


@external
@view
def provider_word(index: uint256) -> uint256:
    """
    @notice The packed word (see slots.vy) of a provider slot; 0 if the index was never allocated.
    """
    return tenants._words[census.PROVIDER][index]


@external
@view
def checker_word(index: uint256) -> uint256:
    """
    @notice The packed word (see slots.vy) of a checker slot; 0 if the index was never allocated.
    """
    return tenants._words[census.CHECKER][index]


@external
@view
def checker_tenant(index: uint256) -> (address, uint256):
    """
    @notice The wallet of the slot's latest tenant and the first epoch of its tenancy, which no
            suspension changes. The zero address if the index was never allocated.
    """
    return (
        slots._wallet(tenants._words[census.CHECKER][index]),
        tenants._since_epoch(census.CHECKER, index),
    )


@external
@view
def stake_of(kind: uint256, index: uint256) -> uint256:
    """
    @notice The exact stake that a slot's tenant has here now.
    @param kind 0 for a provider, 1 for a checker.
    """
    return tenants._records[kind][index].account & tenants.STAKE_MASK


@external
@view
def barred_until(wallet: address) -> uint256:
    """
    @notice First epoch in which the wallet may (again) be a checker; 0 if it was never suspended.
    """
    return tenants._barred_until[wallet]


@internal
@view
def _slots_before(epoch: uint256) -> (uint256, uint256):
    current: uint256 = tenants._current_epoch()
    if not (epoch <= current and current <= epoch + 1):
        failing._fail("registry: epoch is not current or previous")
    return census._slots_before(epoch)


@internal
@view
def _check_caller(entitled: address):
    if msg.sender != entitled:
        failing._fail("registry: caller may not")


@internal
@view
def _minimum(kind: uint256) -> uint256:
    # The Steward numbers the two least stakes as the kinds are numbered.
    return staticcall ISteward(steward).value(kind)


@internal
def _receive(amount: uint256) -> uint256:
    """
    @notice Pulls an amount from the caller.
    @return uint256 What arrived, not what was asked for: the token may take a fee.
    """
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    if not extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ):
        failing._fail("registry: transfer failed")
    return staticcall IERC20(token).balanceOf(self) - before


@internal
def _send(to: address, amount: uint256):
    if not extcall IERC20(token).transfer(to, amount, default_return_value=True):
        failing._fail("registry: transfer failed")


@internal
def _register(
    kind: uint256, node_key: bytes32, binding_r: bytes32, binding_s: bytes32, stake: uint256
) -> uint256:
    if tenants._index_plus_one[kind][msg.sender] != 0:
        failing._fail("registry: wallet already holds a slot")
    if node_key == empty(bytes32):
        failing._fail("registry: node key is zero")
    received: uint256 = self._receive(stake)
    if received < self._minimum(kind):
        failing._fail("registry: stake is too small")
    index: uint256 = 0
    joined_epoch: uint256 = 0
    index, joined_epoch = tenants._enlist(
        kind, msg.sender, node_key, binding_r, binding_s, received
    )
    log Registered(
        kind=kind,
        index=index,
        wallet=msg.sender,
        node_key=node_key,
        stake=received,
        joined_epoch=joined_epoch,
    )
    return index


@internal
def _top_up(kind: uint256, index: uint256, amount: uint256) -> uint256:
    received: uint256 = self._receive(amount)
    if received == 0:
        failing._fail("registry: nothing arrived")
    stake: uint256 = tenants._add(kind, index, received)
    log StakeAdded(kind=kind, index=index, payer=msg.sender, amount=received, stake=stake)
    return stake


@internal
def _withdraw(kind: uint256, index: uint256) -> uint256:
    wallet: address = empty(address)
    amount: uint256 = 0
    wallet, amount = tenants._release(kind, index)
    if amount > 0:
        self._send(wallet, amount)
    log Withdrawn(kind=kind, index=index, wallet=wallet, amount=amount)
    return amount
