#pragma version 0.4.3
#pragma evm-version london
"""
@title Delegation of stake to checkers
@license Apache-2.0
@notice Whoever runs no node can entrust stake to a checker. It counts in the checker's weight, takes
        part of the checker's rewards, and answers for the checker's offences like its own stake.

        Everything is kept by *tenancy*: a checker's index and `since`, the first epoch of the tenant
        that holds it. A slot's next tenant has nothing of what was entrusted to the one before.

            deposit     Waits, and can be taken back at once. Earns nothing and answers for nothing.
            activate    After `warmup_epochs`, by anybody. From then on it weighs, earns and
                        answers. The warm-up is longer than an epoch can be claimed, so nobody
                        has a share in what was earned before it came.
            undelegate  It weighs and earns no more, at once, but stays locked for the Registry's
                        unstake delay, and can be slashed for as long.
            withdraw    Pays it out, to the delegator.

        Active stake is a pool with shares, and so is what is on its way out: slashing changes what a
        share is worth, not how many there are. A share never becomes worth more than one unit of
        stake, since nothing but deposits is counted in: tokens that somebody merely sends here are
        nobody's. So no first delegator can make shares dear for the next.

        The checker says what part of its rewards goes to its delegators (Kaisar's commission). A
        change counts only after the warm-up: no epoch that can be claimed when it is announced is
        ever paid by other terms than it was earned by.

        Shares of rewards are kept exactly; what is paid is rounded down, and the rest stays owed.
        Nobody is paid but by a call for it (to its own wallet, whoever calls), so that no wallet that
        refuses tokens is in anybody's way.
@dev There is no owner. Amounts are in the token's smallest unit.
"""

from ethereum.ercs import IERC20

from . import slots
from .interfaces import IConsensus
from .interfaces import IDelegation
from .interfaces import IRegistry
from .interfaces import IRewards

implements: IDelegation

event Deposited:
    owner: indexed(address)
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256
    ready_epoch: uint256  # first in which all that waits can be activated

event TakenBack:
    owner: indexed(address)
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256

event Activated:
    owner: indexed(address)
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256
    shares: uint256

event Undelegated:
    owner: indexed(address)
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256
    shares: uint256
    unlocks_at: uint256  # Unix seconds

event Returned:
    owner: indexed(address)
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256

event Distributed:
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256

event Collected:
    owner: indexed(address)
    index: indexed(uint256)
    since: indexed(uint256)
    amount: uint256

event DelegationSlashed:
    index: indexed(uint256)
    since: indexed(uint256)
    active: uint256
    leaving: uint256

event CommissionAnnounced:
    index: indexed(uint256)
    since: indexed(uint256)
    bps: uint256
    from_epoch: uint256

# What all delegators of one tenancy have together.
struct Pool:
    shares: uint256
    stake: uint256  # what the shares stand for
    leaving_shares: uint256
    leaving: uint256  # what those stand for
    per_share: uint256  # rewards per share since the beginning, times _SCALE
    rest: uint256  # rewards that did not divide by the shares, times _SCALE; less than a unit
    bps: uint256  # the delegators' part of rewards, before from_epoch
    next_bps: uint256  # and from then on
    from_epoch: uint256
    closed: bool  # everything was slashed: takes nothing more

# What one delegator has in one tenancy.
struct Position:
    waiting: uint256
    ready_epoch: uint256
    shares: uint256
    seen: uint256  # the pool's per_share up to which `earned` goes
    earned: uint256  # rewards not collected yet, times _SCALE
    leaving_shares: uint256
    unlocks_at: uint256

# The same as its owner understands it.
struct Holding:
    waiting: uint256  # not active yet
    ready_epoch: uint256  # first epoch in which that can be activated
    shares: uint256
    stake: uint256  # what the shares are worth now
    leaving: uint256  # what is on its way out, as far as it is worth now
    unlocks_at: uint256  # Unix seconds from which that can be withdrawn
    rewards: uint256  # to be collected

_BPS: constant(uint256) = 10_000

# Products of an amount and a share stay below 2**256.
_MOST: constant(uint256) = 2**128

# Fixed point of rewards per share: with _MOST shares, a unit of rewards is still a number.
_SCALE: constant(uint256) = 2**128

token: public(immutable(address))
registry: public(immutable(address))
rewards: public(immutable(address))
penalties: public(immutable(address))
warmup_epochs: public(immutable(uint256))
_UNSTAKE_DELAY: immutable(uint256)

held: public(uint256)  # all that belongs to somebody here; the balance is never less

_pools: HashMap[uint256, Pool]  # tenancy -> its pool
_positions: HashMap[uint256, HashMap[address, Position]]  # tenancy -> delegator -> what it has


@deploy
def __init__(
    token_: address,
    registry_: address,
    rewards_: address,
    penalties_: address,
    warmup_epochs_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which stakes are held and rewards are paid.
    @param registry_ The Registry that expects Delegation at this address.
    @param rewards_ The Rewards that expects Delegation at this address.
    @param penalties_ Where that Registry expects Penalties.
    @param warmup_epochs_ From a deposit to its activation, and from the announcement of terms to
           when they count: more than an epoch can be claimed.
    """
    assert (
        staticcall IRegistry(registry_).delegation() == self
        and staticcall IRewards(rewards_).delegation() == self
    ), "delegation: contracts of another delegation"
    assert (
        staticcall IRegistry(registry_).token() == token_
        and staticcall IRegistry(registry_).penalties() == penalties_
        and staticcall IRewards(rewards_).token() == token_
    ), "delegation: contracts do not belong together"
    consensus: address = staticcall IRewards(rewards_).consensus()
    assert (
        warmup_epochs_ > staticcall IConsensus(consensus).ring_epochs()
    ), "delegation: warm-up within the claim window"
    token = token_
    registry = registry_
    rewards = rewards_
    penalties = penalties_
    warmup_epochs = warmup_epochs_
    _UNSTAKE_DELAY = staticcall IRegistry(registry_).unstake_delay_seconds()


@external
@nonreentrant
def deposit(index: uint256, since: uint256, amount: uint256) -> uint256:
    """
    @notice Leaves stake here for a checker, to be activated after the warm-up, which begins anew
            for all that the caller has waiting.
    @param index The checker's index.
    @param since First epoch of the tenant that is meant.
    @param amount Amount pulled from the caller, who must have approved it. What arrives is credited.
    @return uint256 First epoch in which it can be activated.
    """
    self._check_tenant(index, since)
    tenancy: uint256 = self._tenancy(index, since)
    assert not self._pools[tenancy].closed, "delegation: pool is closed"
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "delegation: transfer failed"
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before
    assert received > 0, "delegation: nothing arrived"

    self.held += received
    ready_epoch: uint256 = (staticcall IRegistry(registry).current_epoch()) + warmup_epochs
    self._positions[tenancy][msg.sender].waiting += received
    self._positions[tenancy][msg.sender].ready_epoch = ready_epoch
    log Deposited(
        owner=msg.sender, index=index, since=since, amount=received, ready_epoch=ready_epoch
    )
    return ready_epoch


@external
@nonreentrant
def take_back(index: uint256, since: uint256) -> uint256:
    """
    @notice Pays the caller all that it has waiting and that was not activated.
    @param index The checker's index.
    @param since First epoch of the tenant that was meant.
    @return uint256 Amount sent.
    """
    tenancy: uint256 = self._tenancy(index, since)
    amount: uint256 = self._positions[tenancy][msg.sender].waiting
    assert amount > 0, "delegation: nothing is waiting"
    self._positions[tenancy][msg.sender].waiting = 0
    self._send(msg.sender, amount)
    log TakenBack(owner=msg.sender, index=index, since=since, amount=amount)
    return amount


@external
@nonreentrant
def activate(owner: address, index: uint256, since: uint256) -> uint256:
    """
    @notice Makes what somebody has waiting count for the checker. Anybody may call.
    @param owner Who deposited.
    @param index The checker's index.
    @param since First epoch of the tenant, which must not have left.
    @return uint256 Shares of the pool that it became.
    """
    self._check_tenant(index, since)
    tenancy: uint256 = self._tenancy(index, since)
    self._settle(tenancy, owner)
    position: Position = self._positions[tenancy][owner]
    pool: Pool = self._pools[tenancy]
    assert not pool.closed, "delegation: pool is closed"
    assert position.waiting > 0, "delegation: nothing is waiting"
    assert (
        position.ready_epoch <= staticcall IRegistry(registry).current_epoch()
    ), "delegation: warm-up is not over"

    # A pool that is not closed has stake if it has shares, and never more stake than shares.
    shares: uint256 = position.waiting
    if pool.shares > 0:
        shares = position.waiting * pool.shares // pool.stake
    # With few units of stake left after a slash, many shares would be made out of a deposit.
    assert pool.shares + shares < _MOST, "delegation: too many shares"
    self._positions[tenancy][owner].waiting = 0
    self._positions[tenancy][owner].shares = position.shares + shares
    self._pools[tenancy].shares = pool.shares + shares
    self._pools[tenancy].stake = pool.stake + position.waiting
    extcall IRegistry(registry).set_delegated(index, pool.stake + position.waiting)
    log Activated(
        owner=owner, index=index, since=since, amount=position.waiting, shares=shares
    )
    return shares


@external
@nonreentrant
def undelegate(index: uint256, since: uint256, shares: uint256) -> uint256:
    """
    @notice Takes active stake of the caller's out of a checker's weight and rewards. It can be
            withdrawn when the unstake delay is over, which begins anew for all that the caller
            has on its way out of this pool.
    @param index The checker's index.
    @param since First epoch of the tenant, which may be gone.
    @param shares How many of the caller's shares.
    @return uint256 What they are worth.
    """
    tenancy: uint256 = self._tenancy(index, since)
    self._settle(tenancy, msg.sender)
    position: Position = self._positions[tenancy][msg.sender]
    pool: Pool = self._pools[tenancy]
    assert 0 < shares and shares <= position.shares, "delegation: not so many shares"

    amount: uint256 = shares * pool.stake // pool.shares
    leaving_shares: uint256 = amount
    # When all was slashed, nothing is worth anything: no shares come of it.
    if pool.leaving > 0:
        leaving_shares = amount * pool.leaving_shares // pool.leaving
    unlocks_at: uint256 = block.timestamp + _UNSTAKE_DELAY
    self._positions[tenancy][msg.sender].shares = position.shares - shares
    self._positions[tenancy][msg.sender].leaving_shares = position.leaving_shares + leaving_shares
    self._positions[tenancy][msg.sender].unlocks_at = unlocks_at
    self._pools[tenancy].shares = pool.shares - shares
    self._pools[tenancy].stake = pool.stake - amount
    self._pools[tenancy].leaving_shares = pool.leaving_shares + leaving_shares
    self._pools[tenancy].leaving = pool.leaving + amount
    if self._is_tenant(index, since):
        extcall IRegistry(registry).set_delegated(index, pool.stake - amount)
    log Undelegated(
        owner=msg.sender,
        index=index,
        since=since,
        amount=amount,
        shares=shares,
        unlocks_at=unlocks_at,
    )
    return amount


@external
@nonreentrant
def withdraw(owner: address, index: uint256, since: uint256) -> uint256:
    """
    @notice Pays a delegator what it has undelegated, when the delay is over. Anybody may call.
    @param owner The delegator.
    @param index The checker's index.
    @param since First epoch of the tenant, which may be gone.
    @return uint256 Amount sent.
    """
    tenancy: uint256 = self._tenancy(index, since)
    position: Position = self._positions[tenancy][owner]
    pool: Pool = self._pools[tenancy]
    amount: uint256 = self._worth(position.leaving_shares, pool.leaving, pool.leaving_shares)
    assert amount > 0, "delegation: nothing to withdraw"
    assert block.timestamp >= position.unlocks_at, "delegation: unstake delay is not over"

    self._positions[tenancy][owner].leaving_shares = 0
    self._pools[tenancy].leaving_shares = pool.leaving_shares - position.leaving_shares
    self._pools[tenancy].leaving = pool.leaving - amount
    self._send(owner, amount)
    log Returned(owner=owner, index=index, since=since, amount=amount)
    return amount


@external
@nonreentrant
def collect(owner: address, index: uint256, since: uint256) -> uint256:
    """
    @notice Pays a delegator the rewards that it has not collected yet. Anybody may call.
    @param owner The delegator.
    @param index The checker's index.
    @param since First epoch of the tenant, which may be gone.
    @return uint256 Amount sent.
    """
    tenancy: uint256 = self._tenancy(index, since)
    self._settle(tenancy, owner)
    earned: uint256 = self._positions[tenancy][owner].earned
    amount: uint256 = earned // _SCALE
    assert amount > 0, "delegation: nothing to collect"
    self._positions[tenancy][owner].earned = earned % _SCALE
    self._send(owner, amount)
    log Collected(owner=owner, index=index, since=since, amount=amount)
    return amount


@external
def set_commission(index: uint256, bps: uint256) -> uint256:
    """
    @notice Announces what part of its rewards a checker gives to its delegators, in place of an
            announcement that does not count yet. Only its wallet may.
    @param index The checker's index.
    @param bps The part, in ten-thousandths.
    @return uint256 First epoch in which it counts.
    """
    wallet: address = empty(address)
    since: uint256 = 0
    wallet, since = staticcall IRegistry(registry).checker_tenant(index)
    assert wallet == msg.sender, "delegation: caller is not the checker"
    assert bps <= _BPS, "delegation: part is too large"
    tenancy: uint256 = self._tenancy(index, since)
    epoch: uint256 = staticcall IRegistry(registry).current_epoch()
    from_epoch: uint256 = epoch + warmup_epochs
    self._pools[tenancy].bps = self._bps(tenancy, epoch)
    self._pools[tenancy].next_bps = bps
    self._pools[tenancy].from_epoch = from_epoch
    log CommissionAnnounced(index=index, since=since, bps=bps, from_epoch=from_epoch)
    return from_epoch


@external
@nonreentrant
def distribute(index: uint256, amount: uint256):
    """
    @notice Shares rewards out among the delegators of the checker that holds the slot now. Only
            Rewards may call, after it has sent them and if `commission` is not 0.
    @param index The checker's index.
    @param amount What was sent. If the token took a fee, what arrived is shared out.
    """
    assert msg.sender == rewards, "delegation: caller is not Rewards"
    since: uint256 = (staticcall IRegistry(registry).checker_tenant(index))[1]
    tenancy: uint256 = self._tenancy(index, since)
    arrived: uint256 = min(amount, staticcall IERC20(token).balanceOf(self) - self.held)
    self.held += arrived
    shares: uint256 = self._pools[tenancy].shares
    dividend: uint256 = arrived * _SCALE + self._pools[tenancy].rest
    self._pools[tenancy].per_share += dividend // shares
    self._pools[tenancy].rest = dividend % shares
    log Distributed(index=index, since=since, amount=arrived)


@external
def slash(index: uint256, bps: uint256) -> uint256:
    """
    @notice Takes a part of what is delegated to the checker that holds the slot now, be it active
            or on its way out, and sends it to Penalties, which alone may call.
    @param index The checker's index.
    @dev Needs no lock: everything is written down before the token moves. Most checkers have no
         delegators, and proofs against them should not pay for one.
    @param bps The part, in ten-thousandths.
    @return uint256 What was taken.
    """
    assert msg.sender == penalties, "delegation: caller is not Penalties"
    assert bps <= _BPS, "delegation: part is too large"
    since: uint256 = (staticcall IRegistry(registry).checker_tenant(index))[1]
    tenancy: uint256 = self._tenancy(index, since)
    stake: uint256 = self._pools[tenancy].stake
    leaving: uint256 = self._pools[tenancy].leaving
    if stake + leaving == 0:
        return 0
    active_part: uint256 = stake * bps // _BPS
    leaving_part: uint256 = leaving * bps // _BPS
    if bps == _BPS:
        # Worthless shares are left. They must not get a part of what comes later.
        self._pools[tenancy].closed = True
    taken: uint256 = active_part + leaving_part
    if taken > 0:
        self._pools[tenancy].stake = stake - active_part
        self._pools[tenancy].leaving = leaving - leaving_part
        extcall IRegistry(registry).set_delegated(index, stake - active_part)
        self._send(penalties, taken)
        log DelegationSlashed(
            index=index, since=since, active=active_part, leaving=leaving_part
        )
    return taken


@external
@view
def commission(index: uint256) -> uint256:
    """
    @notice What part of its rewards the checker that holds the slot now gives to its delegators,
            in ten-thousandths; 0 if it has none.
    """
    tenancy: uint256 = self._tenancy(
        index, (staticcall IRegistry(registry).checker_tenant(index))[1]
    )
    if self._pools[tenancy].shares == 0:
        return 0
    return self._bps(tenancy, staticcall IRegistry(registry).current_epoch())


@external
@view
def pool(index: uint256, since: uint256) -> Pool:
    """
    @notice What all delegators of a tenancy have together, and the checker's terms.
    """
    return self._pools[self._tenancy(index, since)]


@external
@view
def holding(owner: address, index: uint256, since: uint256) -> Holding:
    """
    @notice What one delegator has in a tenancy, and what it is worth now.
    """
    tenancy: uint256 = self._tenancy(index, since)
    pool: Pool = self._pools[tenancy]
    position: Position = self._positions[tenancy][owner]
    earned: uint256 = position.earned + position.shares * (pool.per_share - position.seen)
    return Holding(
        waiting=position.waiting,
        ready_epoch=position.ready_epoch,
        shares=position.shares,
        stake=self._worth(position.shares, pool.stake, pool.shares),
        leaving=self._worth(position.leaving_shares, pool.leaving, pool.leaving_shares),
        unlocks_at=position.unlocks_at,
        rewards=earned // _SCALE,
    )


@internal
@pure
def _tenancy(index: uint256, since: uint256) -> uint256:
    # Reverts for numbers that no tenancy has; two of them could mean the same one.
    assert index < 2**32 and since < 2**32, "delegation: no such tenancy"
    return (index << 32) | since


@internal
@view
def _is_tenant(index: uint256, since: uint256) -> bool:
    wallet: address = empty(address)
    found: uint256 = 0
    wallet, found = staticcall IRegistry(registry).checker_tenant(index)
    return wallet != empty(address) and found == since


@internal
@view
def _check_tenant(index: uint256, since: uint256):
    """
    @notice Refuses a tenancy that has ended, or is about to.
    """
    assert self._is_tenant(index, since), "delegation: not the tenant"
    assert not slots._has_left(
        staticcall IRegistry(registry).checker_word(index)
    ), "delegation: checker has left"


@internal
@view
def _bps(tenancy: uint256, epoch: uint256) -> uint256:
    """
    @notice The delegators' part in that epoch, which is the current one.
    """
    if self._pools[tenancy].from_epoch <= epoch:
        return self._pools[tenancy].next_bps
    return self._pools[tenancy].bps


@internal
@pure
def _worth(shares: uint256, stake: uint256, all_shares: uint256) -> uint256:
    """
    @notice What some of the shares are worth, rounded down: the rest is the others'.
    """
    if shares == 0:
        return 0
    return shares * stake // all_shares


@internal
def _settle(tenancy: uint256, owner: address):
    """
    @notice Counts the rewards of a delegator up to now, before its shares change.
    """
    per_share: uint256 = self._pools[tenancy].per_share
    position: Position = self._positions[tenancy][owner]
    self._positions[tenancy][owner].earned = position.earned + position.shares * (
        per_share - position.seen
    )
    self._positions[tenancy][owner].seen = per_share


@internal
def _send(receiver: address, amount: uint256):
    self.held -= amount
    assert extcall IERC20(token).transfer(
        receiver, amount, default_return_value=True
    ), "delegation: transfer failed"
