#pragma version 0.4.3
#pragma evm-version london
"""
@title Steward of the few numbers that may change
@license Apache-2.0
@notice Five parameters can be changed, each only within bounds that are fixed here, and only after
        a time lock that lets everybody see the change coming and leave before it:

            0   MIN_PROVIDER_STAKE   least stake of a provider, in the token's smallest unit
            1   MIN_CHECKER_STAKE    least stake of a checker
            2   FRAUD_SLASH_BPS      part of a provider's stake that a fraud mark costs
            3   BOUNTY_BPS           part of what is slashed that goes to whoever proved it
            4   EMISSION_BPS         part of the emission schedule that is paid

        The owner proposes; when the delay is over anybody may execute. Besides, the owner and a
        guardian can stop new bundles for some days when something is wrong with settlement. Then
        epochs go by unsettled and their pools are carried on; claims, withdrawals and refunds go on
        as before.

        Nobody here, the owner included, has a path to anybody's stake or rewards.
"""

from .interfaces import IRegistry
from .interfaces import ISteward

implements: ISteward

event Proposed:
    id: indexed(uint256)
    value: uint256
    ready_at: uint256  # Unix seconds

event Executed:
    id: indexed(uint256)
    value: uint256

event Cancelled:
    id: indexed(uint256)

event OwnershipOffered:
    owner: indexed(address)
    heir: indexed(address)

event OwnershipTransferred:
    before: indexed(address)
    owner: indexed(address)

event GuardianChanged:
    before: indexed(address)
    guardian: indexed(address)

event Paused:
    sender: indexed(address)
    until: uint256  # Unix seconds

event Unpaused:
    sender: indexed(address)

# A change that waits, or nothing if ready_at is 0.
struct Proposal:
    value: uint256
    ready_at: uint256  # Unix seconds

MIN_PROVIDER_STAKE: public(constant(uint256)) = 0
MIN_CHECKER_STAKE: public(constant(uint256)) = 1
FRAUD_SLASH_BPS: public(constant(uint256)) = 2
BOUNTY_BPS: public(constant(uint256)) = 3
EMISSION_BPS: public(constant(uint256)) = 4
PARAMETERS: constant(uint256) = 5

# A minimum is at least one stake unit, so nobody weighs nothing, and at most what a checker's
# weight can express.
MAX_MIN_UNITS: constant(uint256) = 2**15 - 1
# A majority may err: it never costs more than half. Bounties stay so small that nobody gains by
# proving its own offence, and emission can only be lowered.
MAX_FRAUD_SLASH_BPS: constant(uint256) = 5_000
MAX_BOUNTY_BPS: constant(uint256) = 2_000
MAX_EMISSION_BPS: constant(uint256) = 10_000

# A time lock of more than a month would be a way to never change anything.
MAX_DELAY_SECONDS: public(constant(uint256)) = 30 * 86_400
# After its delay a proposal can be executed for two weeks, so that no forgotten one surprises.
WINDOW_SECONDS: public(constant(uint256)) = 14 * 86_400
# Long enough to look for a fault over a weekend, shorter than every window for claims on mainnet.
MAX_PAUSE_SECONDS: public(constant(uint256)) = 3 * 86_400
# From the end that a pause was meant to have until the next one: at most half of the time is lost.
COOL_DOWN_SECONDS: public(constant(uint256)) = 3 * 86_400

registry: public(immutable(address))
delay_seconds: public(immutable(uint256))
_STAKE_UNIT: immutable(uint256)

owner: public(address)
heir: public(address)  # whom ownership is offered to
guardian: public(address)
paused_until: public(uint256)  # Unix seconds; not changed by an early end
_values: uint256[PARAMETERS]
_proposals: Proposal[PARAMETERS]


@deploy
def __init__(
    registry_: address,
    owner_: address,
    guardian_: address,
    delay_seconds_: uint256,
    values: uint256[PARAMETERS],
):
    """
    @notice Fixes bounds and delay for ever, and sets the parameters for the time being.
    @param registry_ The Registry that expects its Steward at this address.
    @param owner_ Who proposes; the zero address if nothing is ever to change.
    @param guardian_ Who may stop bundles beside the owner; the zero address for nobody.
    @param delay_seconds_ Time lock between proposal and execution, 1 second to 30 days.
    @param values The parameters by id.
    """
    assert registry_.is_contract, "steward: registry is not a contract"
    assert (
        staticcall IRegistry(registry_).steward() == self
    ), "steward: registry of another steward"
    assert (
        delay_seconds_ > 0 and delay_seconds_ <= MAX_DELAY_SECONDS
    ), "steward: delay out of range"
    registry = registry_
    delay_seconds = delay_seconds_
    _STAKE_UNIT = staticcall IRegistry(registry_).stake_unit()
    self.owner = owner_
    self.guardian = guardian_
    for id: uint256 in range(PARAMETERS):
        self._check(id, values[id], _STAKE_UNIT)
        self._values[id] = values[id]
        log Executed(id=id, value=values[id])
    log OwnershipTransferred(before=empty(address), owner=owner_)
    log GuardianChanged(before=empty(address), guardian=guardian_)


@external
def propose(id: uint256, new_value: uint256):
    """
    @notice Announces a change, in place of one that may be waiting. Only the owner may.
    @param id The parameter.
    @param new_value Its next value, within the bounds.
    """
    self._check_owner()
    self._check(id, new_value, _STAKE_UNIT)
    ready_at: uint256 = block.timestamp + delay_seconds
    self._proposals[id] = Proposal(value=new_value, ready_at=ready_at)
    log Proposed(id=id, value=new_value, ready_at=ready_at)


@external
def cancel(id: uint256):
    """
    @notice Withdraws a proposal. Only the owner may.
    @param id The parameter.
    """
    self._check_owner()
    assert id < PARAMETERS, "steward: no such parameter"
    assert self._proposals[id].ready_at > 0, "steward: nothing is proposed"
    self._proposals[id] = empty(Proposal)
    log Cancelled(id=id)


@external
def execute(id: uint256):
    """
    @notice Makes a proposal count, from the end of its delay on and for two weeks. Anybody may.
    @param id The parameter.
    """
    assert id < PARAMETERS, "steward: no such parameter"
    proposal: Proposal = self._proposals[id]
    assert proposal.ready_at > 0, "steward: nothing is proposed"
    assert proposal.ready_at <= block.timestamp, "steward: delay is not over"
    assert block.timestamp < proposal.ready_at + WINDOW_SECONDS, "steward: proposal expired"
    self._proposals[id] = empty(Proposal)
    self._values[id] = proposal.value
    log Executed(id=id, value=proposal.value)


@external
def offer_ownership(heir: address):
    """
    @notice Offers ownership, in place of an earlier offer. Only the owner may.
    @param heir Who may accept it; the zero address for nobody.
    """
    self._check_owner()
    self.heir = heir
    log OwnershipOffered(owner=msg.sender, heir=heir)


@external
def accept_ownership():
    """
    @notice Takes over ownership that was offered to the caller.
    """
    assert msg.sender == self.heir, "steward: ownership was not offered"
    before: address = self.owner
    self.owner = msg.sender
    self.heir = empty(address)
    log OwnershipTransferred(before=before, owner=msg.sender)


@external
def set_guardian(guardian: address):
    """
    @notice Names who may stop bundles beside the owner. Only the owner may.
    @param guardian The guardian; the zero address for nobody.
    """
    self._check_owner()
    before: address = self.guardian
    self.guardian = guardian
    log GuardianChanged(before=before, guardian=guardian)


@external
def pause():
    """
    @notice Stops new bundles for three days, and nothing else. Owner or guardian may, but not again
            before another three days are over.
    """
    self._check_role()
    assert (
        block.timestamp >= self.paused_until + COOL_DOWN_SECONDS
    ), "steward: paused too recently"
    until: uint256 = block.timestamp + MAX_PAUSE_SECONDS
    self.paused_until = until
    extcall IRegistry(registry).pause_bundles(until)
    log Paused(sender=msg.sender, until=until)


@external
def unpause():
    """
    @notice Ends a pause early. Owner or guardian may. When the next pause is possible does not
            change.
    """
    self._check_role()
    extcall IRegistry(registry).pause_bundles(block.timestamp)
    log Unpaused(sender=msg.sender)


@external
@view
def value(id: uint256) -> uint256:
    """
    @notice What a parameter is now; reverts if there is none of that id.
    """
    assert id < PARAMETERS, "steward: no such parameter"
    return self._values[id]


@external
@view
def proposal(id: uint256) -> Proposal:
    """
    @notice The change that waits for a parameter; zeros if there is none.
    """
    assert id < PARAMETERS, "steward: no such parameter"
    return self._proposals[id]


@internal
@view
def _check_owner():
    assert msg.sender == self.owner, "steward: caller is not the owner"


@internal
@view
def _check_role():
    assert (
        msg.sender == self.owner or msg.sender == self.guardian
    ), "steward: caller is neither owner nor guardian"


@internal
@pure
def _check(id: uint256, new_value: uint256, unit: uint256):
    """
    @notice Refuses a value out of its bounds.
    """
    assert id < PARAMETERS, "steward: no such parameter"
    least: uint256 = 0
    most: uint256 = MAX_EMISSION_BPS
    if id == MIN_PROVIDER_STAKE or id == MIN_CHECKER_STAKE:
        least = unit
        most = MAX_MIN_UNITS * unit
    elif id == FRAUD_SLASH_BPS:
        most = MAX_FRAUD_SLASH_BPS
    elif id == BOUNTY_BPS:
        most = MAX_BOUNTY_BPS
    assert least <= new_value and new_value <= most, "steward: value out of bounds"
