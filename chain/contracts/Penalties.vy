#pragma version 0.4.3
#pragma evm-version london
"""
@title Penalties for what anybody can prove
@license Apache-2.0
@notice Three offences, each shown by what is on the chain or signed by the offender, never by
        timing or by anybody's word:

        - Equivocation: a checker signed two different reports on one shard and epoch. It loses its
          whole stake, and what was delegated to it, and its slot. It need not have had a seat: no
          honest checker signs twice.
        - Fraud: the accepted bundle's majority marked a provider. It loses a part of its stake
          (Steward's FRAUD_SLASH_BPS), and its slot if too little is left; once per epoch.
        - Wrong reports: a checker's report in an accepted bundle deviates in more than half of the
          shard's lanes. That costs no stake, but two within a week keep the checker out for a
          month, five within a month for half a year, and more than ten for good.

        Whoever brings the proof first gets a part of what is slashed (Steward's BOUNTY_BPS); the
        rest goes into the fund of Rewards. Proofs are taken for as long as Consensus' ring is long,
        and stakes are locked for longer.
@dev There is no owner. The token passes through: between two calls nothing is here, and whatever
     somebody sent here by mistake goes the way of the next slashed stake.
"""

from ethereum.ercs import IERC20

from . import census
from . import domain
from . import slots
from .interfaces import IConsensus
from .interfaces import IDelegation
from .interfaces import IRegistry
from .interfaces import IRewards
from .interfaces import ISteward

event Equivocated:
    index: indexed(uint256)
    epoch: indexed(uint256)
    shard: uint256
    reporter: indexed(address)
    slashed: uint256
    bounty: uint256

event FraudPunished:
    index: indexed(uint256)
    epoch: indexed(uint256)
    reporter: indexed(address)
    slashed: uint256
    bounty: uint256

event WrongRecorded:
    index: indexed(uint256)
    epoch: indexed(uint256)
    shard: uint256
    seat: uint256
    total: uint256
    banned_until: uint256  # first epoch in which the checker may take part again; 0 if not banned

# A report as its signer signed it (domain.vy), but for epoch and shard.
struct Statement:
    online: uint256
    fraud: uint256
    scores: bytes32  # keccak256 of the sixteen score words
    evidence: bytes32
    r: bytes32
    vs: uint256  # EIP-2098: s, with v - 27 in the top bit

# Kaisar's rule for wrong reports (protocols/params.py has the same numbers).
WRONG_IN_WEEK: constant(uint256) = 2
WRONG_IN_MONTH: constant(uint256) = 5
WRONG_IN_TOTAL: constant(uint256) = 10

_OPEN: constant(uint256) = 1
_SHUT: constant(uint256) = 2

SHARD_LANES: constant(uint256) = 256
_BPS: constant(uint256) = 10_000
_BOUNTY_BPS: constant(uint256) = 3  # the Steward's numbers
_FRAUD_SLASH_BPS: constant(uint256) = 2

_MASK_32: constant(uint256) = 2**32 - 1
_LATEST_MASK: constant(uint256) = 2**160 - 1
_TOTAL_SHIFT: constant(uint256) = 160

token: public(immutable(address))
registry: public(immutable(address))
consensus: public(immutable(address))
rewards: public(immutable(address))
delegation: public(immutable(address))
steward: public(immutable(address))
week_epochs: public(immutable(uint256))
month_epochs: public(immutable(uint256))
half_year_epochs: public(immutable(uint256))
_RING_EPOCHS: immutable(uint256)

# Provider index -> epoch -> whether its fraud was punished. A slot's next tenant never was active in
# an epoch of the one before.
fraud_punished: public(HashMap[uint256, HashMap[uint256, bool]])

# _OPEN, or _SHUT while tokens are on their way. In place of @nonreentrant, whose word is fresh until
# its first use: setting it then would make the first proof of all a seventh dearer.
_door: uint256

# Wallet -> its latest five epochs with a wrong report, 32 bits each, the newest in the lowest; from
# bit 160 the number of all. Kept by wallet, so that leaving and coming back forgets nothing.
_standings: HashMap[address, uint256]


@deploy
def __init__(
    token_: address,
    registry_: address,
    consensus_: address,
    rewards_: address,
    delegation_: address,
    steward_: address,
    week_epochs_: uint256,
    month_epochs_: uint256,
    half_year_epochs_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which stakes are held.
    @param registry_ The Registry that expects Penalties at this address.
    @param consensus_ Consensus over that Registry.
    @param rewards_ Rewards in that token, whose fund gets what was slashed.
    @param delegation_ Delegation of that Registry.
    @param steward_ Steward of that Registry.
    @param week_epochs_ Within so many epochs two wrong reports are too many; not zero.
    @param month_epochs_ Within so many epochs five are; so long the first ban is.
    @param half_year_epochs_ So long the second ban is.
    """
    assert (
        staticcall IRegistry(registry_).penalties() == self
    ), "penalties: registry of other penalties"
    assert (
        staticcall IRegistry(registry_).token() == token_
        and staticcall IRegistry(registry_).delegation() == delegation_
        and staticcall IRegistry(registry_).steward() == steward_
        and staticcall IConsensus(consensus_).registry() == registry_
        and staticcall IRewards(rewards_).token() == token_
    ), "penalties: contracts do not belong together"
    assert (
        0 < week_epochs_ and week_epochs_ <= month_epochs_ and month_epochs_ <= half_year_epochs_
    ), "penalties: bans out of order"
    token = token_
    registry = registry_
    consensus = consensus_
    rewards = rewards_
    delegation = delegation_
    steward = steward_
    week_epochs = week_epochs_
    month_epochs = month_epochs_
    half_year_epochs = half_year_epochs_
    _RING_EPOCHS = staticcall IConsensus(consensus_).ring_epochs()
    self._door = _OPEN
    # Once for all: Rewards pulls from nobody but its caller, and this is cheaper than each time.
    assert extcall IERC20(token_).approve(
        rewards_, max_value(uint256), default_return_value=True
    ), "penalties: approval failed"


@external
def prove_equivocation(
    index: uint256, epoch: uint256, shard: uint256, a: Statement, b: Statement
) -> uint256:
    """
    @notice Punishes a checker that signed two different reports on one shard and epoch. Anybody may
            bring the proof; the first gets the bounty.
    @param index The checker's index. It may have left, but must not have withdrawn.
    @param epoch The epoch of both: not in the future, and less than the ring's length ago.
    @param shard The shard of both.
    @param a One report.
    @param b The other one.
    @return uint256 The bounty.
    """
    self._check_window(epoch)
    wallet: address = empty(address)
    since: uint256 = 0
    wallet, since = staticcall IRegistry(registry).checker_tenant(index)
    assert wallet != empty(address) and since <= epoch, "penalties: not the tenant then"
    separator: bytes32 = domain._build(consensus)
    first: bytes32 = self._digest(separator, epoch, shard, a)
    second: bytes32 = self._digest(separator, epoch, shard, b)
    # Of one digest there are many valid signatures.
    assert first != second, "penalties: reports are the same"
    self._check_signature(wallet, first, a)
    self._check_signature(wallet, second, b)

    self._shut_door()
    slashed: uint256 = extcall IRegistry(registry).slash(
        census.CHECKER, index, max_value(uint256), True
    )
    # Zero when it was punished before: all of it was taken then.
    assert slashed > 0, "penalties: nothing to slash"
    slashed += extcall IDelegation(delegation).slash(index, _BPS)
    bounty: uint256 = self._share_out()
    log Equivocated(
        index=index,
        epoch=epoch,
        shard=shard,
        reporter=msg.sender,
        slashed=slashed,
        bounty=bounty,
    )
    return bounty


@external
def slash_fraud(epoch: uint256, shard: uint256, lane: uint256) -> uint256:
    """
    @notice Punishes a provider that the majority of an accepted bundle marked for fraud, once for
            the epoch. Anybody may call; the first gets the bounty.
    @param epoch The epoch of the bundle, less than the ring's length ago.
    @param shard Its shard.
    @param lane The provider's lane in it.
    @return uint256 The bounty.
    """
    self._check_window(epoch)
    assert lane < SHARD_LANES, "penalties: no such lane"
    fraud: uint256 = (staticcall IConsensus(consensus).bundle(epoch, shard)).fraud
    assert (fraud >> lane) & 1 == 1, "penalties: not marked"
    index: uint256 = shard * SHARD_LANES + lane
    word: uint256 = staticcall IRegistry(registry).provider_word(index)
    assert slots._is_active(word, epoch), "penalties: not the tenant then"
    assert not self.fraud_punished[index][epoch], "penalties: punished before"
    self.fraud_punished[index][epoch] = True

    self._shut_door()
    stake: uint256 = staticcall IRegistry(registry).stake_of(census.PROVIDER, index)
    part: uint256 = staticcall ISteward(steward).value(_FRAUD_SLASH_BPS)
    slashed: uint256 = extcall IRegistry(registry).slash(
        census.PROVIDER, index, stake * part // _BPS, False
    )
    assert slashed > 0, "penalties: nothing to slash"
    bounty: uint256 = self._share_out()
    log FraudPunished(
        index=index, epoch=epoch, reporter=msg.sender, slashed=slashed, bounty=bounty
    )
    return bounty


@external
def record_wrong(epoch: uint256, shard: uint256, seat: uint256) -> uint256:
    """
    @notice Counts a wrong report against its checker, one per epoch, in increasing order of epochs,
            and bans the checker when there are too many. Anybody may call.
    @param epoch The epoch of the bundle, less than the ring's length ago.
    @param shard Its shard.
    @param seat The seat whose report was worth nothing.
    @return uint256 First epoch in which the checker may take part again, 0 if it is not banned.
    """
    self._check_window(epoch)
    index: uint256 = 0
    deviating: uint256 = 0
    used: uint256 = 0
    index, deviating, used = staticcall IConsensus(consensus).seat_result(epoch, shard, seat)
    assert 2 * deviating > used, "penalties: report is not wrong"
    wallet: address = empty(address)
    since: uint256 = 0
    wallet, since = staticcall IRegistry(registry).checker_tenant(index)
    assert since <= epoch, "penalties: not the tenant then"

    standing: uint256 = self._standings[wallet]
    assert standing & _MASK_32 < epoch, "penalties: recorded before, or a later one"
    total: uint256 = (standing >> _TOTAL_SHIFT) + 1
    standing = ((standing << 32) & _LATEST_MASK) | epoch | (total << _TOTAL_SHIFT)
    self._standings[wallet] = standing

    banned_until: uint256 = 0
    ban: uint256 = self._ban(standing, epoch, total)
    if ban > 0:
        next: uint256 = (staticcall IRegistry(registry).current_epoch()) + 1
        banned_until = extcall IRegistry(registry).suspend_checker(
            index, min(next + ban, slots.NO_EXIT)
        )
    log WrongRecorded(
        index=index,
        epoch=epoch,
        shard=shard,
        seat=seat,
        total=total,
        banned_until=banned_until,
    )
    return banned_until


@external
@view
def standing(index: uint256) -> (uint256, uint256[WRONG_IN_MONTH]):
    """
    @notice How many wrong reports were ever recorded of the wallet that holds a checker slot, and
            the epochs of the latest five, the newest first; 0 where there are fewer.
    """
    wallet: address = (staticcall IRegistry(registry).checker_tenant(index))[0]
    standing: uint256 = self._standings[wallet]
    epochs: uint256[WRONG_IN_MONTH] = empty(uint256[WRONG_IN_MONTH])
    for i: uint256 in range(WRONG_IN_MONTH):
        epochs[i] = (standing >> (32 * i)) & _MASK_32
    return standing >> _TOTAL_SHIFT, epochs


@internal
@view
def _check_window(epoch: uint256):
    """
    @notice Refuses what is so old that stakes which answer for it may be gone, or is yet to come.
    """
    current: uint256 = staticcall IRegistry(registry).current_epoch()
    assert epoch <= current and current - epoch < _RING_EPOCHS, "penalties: too old, or too early"


@internal
@pure
def _digest(
    separator: bytes32, epoch: uint256, shard: uint256, statement: Statement
) -> bytes32:
    """
    @notice What the signer of a report signed.
    """
    struct_hash: bytes32 = keccak256(
        abi_encode(
            domain.REPORT_TYPEHASH,
            epoch,
            shard,
            statement.online,
            statement.fraud,
            statement.scores,
            statement.evidence,
        )
    )
    return keccak256(concat(0x1901, separator, struct_hash))


@internal
@pure
def _check_signature(wallet: address, digest: bytes32, statement: Statement):
    s: uint256 = statement.vs & domain.S_MASK
    assert s <= domain.HALF_ORDER, "penalties: high s"
    # The wallet is not zero, so a failed recovery does not match it.
    assert wallet == ecrecover(
        digest, 27 + (statement.vs >> 255), convert(statement.r, uint256), s
    ), "penalties: not signed by the checker"


@internal
def _shut_door():
    assert self._door == _OPEN, "penalties: called back"
    self._door = _SHUT


@internal
@view
def _ban(standing: uint256, epoch: uint256, total: uint256) -> uint256:
    """
    @notice For how many epochs the checker is banned after its latest wrong report.
    """
    if total > WRONG_IN_TOTAL:
        return slots.NO_EXIT
    fifth: uint256 = (standing >> (32 * (WRONG_IN_MONTH - 1))) & _MASK_32
    if total >= WRONG_IN_MONTH and epoch - fifth < month_epochs:
        return half_year_epochs
    second: uint256 = (standing >> (32 * (WRONG_IN_WEEK - 1))) & _MASK_32
    if total >= WRONG_IN_WEEK and epoch - second < week_epochs:
        return month_epochs
    return 0


@internal
def _share_out() -> uint256:
    """
    @notice Splits what is here between the caller and the fund of Rewards, and opens the door.
    @dev By the balance, not by what was slashed: the token may take a fee.
    @return uint256 The caller's bounty.
    """
    amount: uint256 = staticcall IERC20(token).balanceOf(self)
    part: uint256 = staticcall ISteward(steward).value(_BOUNTY_BPS)
    bounty: uint256 = amount * part // _BPS
    if amount > bounty:
        extcall IRewards(rewards).fund(amount - bounty)
    if bounty > 0:
        assert extcall IERC20(token).transfer(
            msg.sender, bounty, default_return_value=True
        ), "penalties: transfer failed"
    self._door = _OPEN
    return bounty
