#pragma version 0.4.3
#pragma evm-version london
"""
@title Leases: how they are kept, and how their money is divided
@license Apache-2.0
@notice A lease is five words:

            tenant    bits   0..159   the provider's wallet
                      bits 160..191   first epoch of its tenancy; so far as in slots.vy
                      bits 192..223   its index
            renter    bits   0..159   the renter's wallet
                      bits 160..255   price per second
            key       the Ed25519 key whose holder uses the machine
            terms     bits   0..23    minimum seconds
                      bits  24..47    maximum seconds
                      bits  48..71    seconds for which it was opened, by which the bond goes
                      bits  72..111   accept_by: until when it can be accepted
                      bits 112..143   base: epoch
                      bits 144..159   base: score
                      bits 160..207   base: total of all scores
            course    bits   0..7     state
                      bits   8..31    seconds, with all extensions
                      bits  32..71    started_at
                      bits  72..111   ended_at
                      bits 112..143   judged_until: first epoch that was not looked at yet
                      bits 144..167   away_seconds: of the lease's, in the epochs before it
                      bits 168..191   collected_seconds: for which the provider was credited
                      bits 192..215   kept_seconds: for which money was not returned to the renter
                      bit  216        the provider ended it before its time
                      bit  217        gone: the provider was away in the last epoch looked at

        Times are Unix seconds, 0 if they have not come; durations are seconds below 2**24.
        protocols/leases.py has the same arithmetic in Python.
@dev With 96 bits of price and 24 of seconds no product of them overflows, nor does a sum of a time
     and a duration.
"""

from . import failing

# A lease as it is stored, and as readers get it.
struct Words:
    tenant: uint256
    renter: uint256
    key: bytes32
    terms: uint256
    course: uint256

# A lease that is worked with: what the words say, without what only readers want to know.
struct Lease:
    id: uint256
    tenant: uint256
    renter: address
    price: uint256
    terms: uint256
    bond: uint256
    state: uint256
    seconds: uint256
    started_at: uint256
    ended_at: uint256
    ends_at: uint256  # ended_at, or when its time is over; not stored
    judged_until: uint256
    away_seconds: uint256
    collected_seconds: uint256
    kept_seconds: uint256
    left_early: uint256
    gone: uint256

RESERVED: constant(uint256) = 1
ACTIVE: constant(uint256) = 2
ENDED: constant(uint256) = 3
SETTLED: constant(uint256) = 4
RECLAIMED: constant(uint256) = 5

# Sets of states: a bit for each.
ANY: constant(uint256) = 2**6 - 1
BEGUN: constant(uint256) = (1 << 2) | (1 << 3)

BPS: constant(uint256) = 10_000

MAX_SECONDS: constant(uint256) = 2**24 - 1
MAX_PRICE: constant(uint256) = 2**96 - 1

MASK_24: constant(uint256) = 2**24 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_160: constant(uint256) = 2**160 - 1
MASK_192: constant(uint256) = 2**192 - 1
_MASK_8: constant(uint256) = 2**8 - 1
_MASK_40: constant(uint256) = 2**40 - 1

# Fields of `terms`.
OPENED_SHIFT: constant(uint256) = 48
ACCEPT_BY_SHIFT: constant(uint256) = 72
BASE_SHIFT: constant(uint256) = 112

fee_bps: public(immutable(uint256))
penalty_bps: public(immutable(uint256))

_words: HashMap[uint256, Words]  # id -> lease


@deploy
def __init__(fee_bps_: uint256, penalty_bps_: uint256):
    assert fee_bps_ <= BPS and penalty_bps_ <= BPS, "rental: part exceeds the whole"
    fee_bps = fee_bps_
    penalty_bps = penalty_bps_


@internal
@view
def _load(id: uint256, states: uint256) -> Lease:
    """
    @notice A lease. Reverts if its state is none of those; with ANY, what is loaded is in state 0
            where there is no lease.
    """
    course: uint256 = self._words[id].course
    state: uint256 = course & _MASK_8
    if (states >> state) & 1 == 0:
        failing._fail("rental: not in this state")
    renter: uint256 = self._words[id].renter
    price: uint256 = renter >> 160
    terms: uint256 = self._words[id].terms
    started_at: uint256 = (course >> 32) & _MASK_40
    seconds: uint256 = (course >> 8) & MASK_24
    ended_at: uint256 = (course >> 72) & _MASK_40
    ends_at: uint256 = ended_at
    if ended_at == 0:
        ends_at = unsafe_add(started_at, seconds)
    return Lease(
        id=id,
        tenant=self._words[id].tenant,
        renter=convert(renter & MASK_160, address),
        price=price,
        terms=terms,
        bond=unsafe_div(
            unsafe_mul(unsafe_mul((terms >> OPENED_SHIFT) & MASK_24, price), penalty_bps), BPS
        ),
        state=state,
        seconds=seconds,
        started_at=started_at,
        ended_at=ended_at,
        ends_at=ends_at,
        judged_until=(course >> 112) & MASK_32,
        away_seconds=(course >> 144) & MASK_24,
        collected_seconds=(course >> 168) & MASK_24,
        kept_seconds=(course >> 192) & MASK_24,
        left_early=(course >> 216) & 1,
        gone=course >> 217,
    )


@internal
def _store(lease: Lease):
    """
    @notice Stores the course of a lease, which is all that changes of it once it began.
    """
    self._words[lease.id].course = (
        lease.state
        | (lease.seconds << 8)
        | (lease.started_at << 32)
        | (lease.ended_at << 72)
        | (lease.judged_until << 112)
        | (lease.away_seconds << 144)
        | (lease.collected_seconds << 168)
        | (lease.kept_seconds << 192)
        | (lease.left_early << 216)
        | (lease.gone << 217)
    )


@internal
@view
def _fee(amount: uint256) -> uint256:
    """
    @notice The fee on an amount, which is paid on top of it.
    """
    return unsafe_div(unsafe_mul(amount, fee_bps), BPS)


@internal
@view
def _escrow(seconds: uint256, price: uint256) -> uint256:
    """
    @notice What so many seconds take from a renter.
    """
    amount: uint256 = unsafe_mul(seconds, price)
    return unsafe_add(amount, self._fee(amount))


@internal
@pure
def _charged(lease: Lease) -> uint256:
    """
    @notice The seconds of a lease that is over that its renter pays for, as far as it was judged:
            of what is not judged yet, all. Looking at further epochs never makes it more.
    """
    charged: uint256 = lease.ends_at - lease.started_at - lease.away_seconds
    if lease.away_seconds == 0 and lease.left_early == 0:
        charged = max(charged, min(lease.terms & MASK_24, lease.seconds))
    return charged
