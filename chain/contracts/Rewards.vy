#pragma version 0.4.3
#pragma evm-version london
"""
@title Rewards of providers and checkers
@license Apache-2.0
@notice Each epoch has a pool for providers and one for checkers, paid out of what was funded:

            provider   pool * score // sum of all scores
            checker    pool * (weight * stake units) // sum of all weight * stake units, per seat
                       that reported; nothing in an epoch in which it did not contribute to Beacon
                       (its share stays in the fund)

        Epochs are closed in order, after their grace: closing fixes what the pools are
        (emission.vy) and promises them. The sum of all promises never exceeds the fund, and shares
        are rounded down, so whatever is earned is there. Anybody may close epochs, and every claim
        does so first.

        Anybody may trigger a claim; the money always goes to the wallet that held the slot in that
        epoch, whatever became of it since, and of a checker's the part that it has promised to its
        delegators to Delegation. An epoch can be claimed from its closing for as long as Consensus'
        ring holds it: current epoch < epoch + ring_epochs. What nobody has claimed by then goes
        back to the fund.

        Items of a claim that pay nothing (still open, expired, not earned, already paid) are
        skipped, so that somebody who claims one of them first cannot make the rest of the
        transaction fail.
@dev There is no owner and no way to take out what was funded but by earning it. A claim of many
     epochs reads cold words: for each report the bundle's and the epoch's, for each epoch of a
     provider one more, and one of pools for four epochs; what was paid is marked in one word for
     224 epochs, and counted in one for 64.
"""

from ethereum.ercs import IERC20

from . import contributions
from . import emission
from . import failing
from . import lanes
from . import results
from . import slots
from .interfaces import IBeacon
from .interfaces import IConsensus
from .interfaces import IDelegation
from .interfaces import IRegistry
from .interfaces import IRewards
from .interfaces import ISteward

implements: IRewards
initializes: emission

exports: (
    emission.provider_pool,
    emission.checker_pool,
    emission.era_epochs,
    emission.carry_epochs,
    emission.pool_unit,
)

event Funded:
    sender: indexed(address)
    amount: uint256

event EpochClosed:
    epoch: indexed(uint256)
    provider_pool: uint256
    checker_pool: uint256
    provider_carry: uint256  # carried on from here
    checker_carry: uint256

event ProviderPaid:
    index: indexed(uint256)
    wallet: indexed(address)
    amount: uint256
    paid: uint256  # bit i: the claim's item i is among what was paid

event CheckerPaid:
    index: indexed(uint256)
    wallet: indexed(address)
    amount: uint256  # what was earned, with the part of the delegators
    delegators: uint256
    paid: uint256

# At about 9,000 gas an item, 64 stay far below the 10M gas we allow a transaction. So do 64 epochs
# that are closed at once.
MAX_ITEMS: constant(uint256) = 64
MAX_CLOSED: constant(uint256) = 64

_BPS: constant(uint256) = 10_000
_EMISSION_BPS: constant(uint256) = 4  # the Steward's number

_MASK_32: constant(uint256) = 2**32 - 1
_MASK_28: constant(uint256) = 2**28 - 1
_MASK_96: constant(uint256) = 2**96 - 1
_MASK_128: constant(uint256) = 2**128 - 1

# The pools of four epochs share a word: bits 0..31 epoch // 4; then for each epoch, from bit 32 +
# 56 * (epoch % 4), 28 bits each of the provider and the checker pool, in pool units. 64 words reach
# back further than any ring.
_POOL_WORDS: constant(uint256) = 64
_POOL_BITS: constant(uint256) = 28

# Promises are counted for spans of 64 epochs. A ring of 224 epochs and the span that begins touch
# six spans; eight words keep them.
_SPAN_EPOCHS: constant(uint256) = 64
_SPAN_BITS: constant(uint256) = 6
_SPANS: constant(uint256) = 8
_SPAN_SHIFT: constant(uint256) = 128

# Epochs to a word of paid bits, beside the number of the window. A claim window of 224 epochs
# touches two.
_WINDOW_EPOCHS: constant(uint256) = 224
_WINDOW_SHIFT: constant(uint256) = 224

token: public(immutable(address))
registry: public(immutable(address))
consensus: public(immutable(address))
beacon: public(immutable(address))
steward: public(immutable(address))
delegation: public(immutable(address))

_GENESIS: immutable(uint256)
_EPOCH_SECONDS: immutable(uint256)
_GRACE_SECONDS: immutable(uint256)
_RING_EPOCHS: immutable(uint256)
_SEATS: immutable(uint256)

funded: public(uint256)  # all that ever arrived through fund()
unpromised: public(uint256)  # what of it is in no pool, or was and came back

# Bits 0..31 the first epoch that is not closed, 32..63 the first span whose rest has not come back,
# 64..159 the carry of providers, 160..255 that of checkers.
_state: uint256

_pools: uint256[_POOL_WORDS]  # epoch // 4 % 64 -> pools
_promised: uint256[_SPANS]  # span % 8 -> what of its pools is left; span from bit 128 on

# A map of bits: window << 224 | bit epoch % 224: paid. The key is
# (kind << 64 | shard << 32 | index) << 1 | window % 2, for providers with shard 0; so an old
# window's word is taken over.
_paid: HashMap[uint256, uint256]


@deploy
def __init__(
    token_: address,
    registry_: address,
    consensus_: address,
    beacon_: address,
    steward_: address,
    delegation_: address,
    provider_pool_: uint256,
    checker_pool_: uint256,
    era_epochs_: uint256,
    carry_epochs_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which rewards are paid; that of the stakes.
    @param registry_ Registry of the wallets.
    @param consensus_ Consensus over that Registry and that Beacon.
    @param beacon_ Beacon whose contributors are paid.
    @param steward_ Steward of that Registry, who can lower the emission.
    @param delegation_ Delegation of that Registry, which need not be there yet.
    @param provider_pool_ What all providers together earn per epoch of the first era.
    @param checker_pool_ What all checkers together earn per epoch of the first era.
    @param era_epochs_ Epochs of an era.
    @param carry_epochs_ Part of what was carried that goes into one epoch: 1 / carry_epochs.
    """
    emission.__init__(provider_pool_, checker_pool_, era_epochs_, carry_epochs_)
    assert (
        staticcall IRegistry(registry_).token() == token_
        and staticcall IRegistry(registry_).steward() == steward_
        and staticcall IRegistry(registry_).delegation() == delegation_
        and staticcall IConsensus(consensus_).registry() == registry_
        and staticcall IConsensus(consensus_).beacon() == beacon_
    ), "rewards: contracts do not belong together"
    token = token_
    registry = registry_
    consensus = consensus_
    beacon = beacon_
    steward = steward_
    delegation = delegation_
    _GENESIS = staticcall IRegistry(registry_).genesis()
    _EPOCH_SECONDS = staticcall IRegistry(registry_).epoch_seconds()
    _GRACE_SECONDS = staticcall IConsensus(consensus_).grace_seconds()
    _RING_EPOCHS = staticcall IConsensus(consensus_).ring_epochs()
    _SEATS = staticcall IConsensus(consensus_).seats()
    # Emission begins with the first epoch in which somebody can be judged.
    self._state = self._current_epoch() + 1


@external
@nonreentrant
def fund(amount: uint256) -> uint256:
    """
    @notice Adds to the fund. Anybody may; nobody gets it back.
    @param amount Amount pulled from the caller, who must have approved it. What arrives is counted.
    @return uint256 What arrived.
    """
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    if not extcall IERC20(token).transferFrom(msg.sender, self, amount, default_return_value=True):
        failing._fail("rewards: transfer failed")
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before
    self.funded += received
    self.unpromised += received
    log Funded(sender=msg.sender, amount=received)
    return received


@external
@nonreentrant
def close() -> uint256:
    """
    @notice Closes the epochs whose grace is over, in order, 64 at a time.
    @return uint256 The first epoch that is still not closed.
    """
    return self._close()


@external
@nonreentrant
def claim_provider(index: uint256, epochs: DynArray[uint256, MAX_ITEMS]) -> uint256:
    """
    @notice Pays a provider what it earned in the given epochs, to its registered wallet.
    @param index The provider's index.
    @param epochs Epochs to pay; those that pay nothing are skipped.
    @return uint256 Amount paid; reverts if it would be 0.
    """
    word: uint256 = staticcall IRegistry(registry).provider_word(index)
    places: uint256[MAX_ITEMS] = empty(uint256[MAX_ITEMS])
    for i: uint256 in range(len(epochs), bound=MAX_ITEMS):
        places[i] = (min(epochs[i], _MASK_32) << 32) | (index >> 4)
    amount: uint256 = 0
    paid: uint256 = 0
    amount, paid = self._settle(emission.PROVIDERS, index, word, places, len(epochs))
    wallet: address = slots._wallet(word)
    self._pay(wallet, amount)
    log ProviderPaid(index=index, wallet=wallet, amount=amount, paid=paid)
    return amount


@external
@nonreentrant
def claim_checker(index: uint256, items: DynArray[uint256, MAX_ITEMS]) -> uint256:
    """
    @notice Pays a checker for the given reports, to its registered wallet, and its delegators what
            it has promised them.
    @param index The checker's index.
    @param items epoch << 32 | shard << 4 | seat of each report; those that pay nothing are skipped.
    @return uint256 Amount paid, with the part of the delegators; reverts if it would be 0.
    """
    wallet: address = empty(address)
    since: uint256 = 0
    wallet, since = staticcall IRegistry(registry).checker_tenant(index)
    amount: uint256 = 0
    paid: uint256 = 0
    places: uint256[MAX_ITEMS] = empty(uint256[MAX_ITEMS])
    for i: uint256 in range(len(items), bound=MAX_ITEMS):
        places[i] = items[i]
    amount, paid = self._settle(emission.CHECKERS, index, since, places, len(items))
    delegators: uint256 = amount * staticcall IDelegation(delegation).commission(index) // _BPS
    if amount > delegators:
        self._pay(wallet, amount - delegators)
    if delegators > 0:
        self._pay(delegation, delegators)
        extcall IDelegation(delegation).distribute(index, delegators)
    log CheckerPaid(index=index, wallet=wallet, amount=amount, delegators=delegators, paid=paid)
    return amount


@external
@view
def provider_reward(index: uint256, epoch: uint256) -> uint256:
    """
    @notice The provider's share of the epoch, whether or not it was paid; 0 outside the claim
            window. Of an epoch that is not closed but could be: what it is if it is closed now.
    """
    word: uint256 = staticcall IRegistry(registry).provider_word(index)
    return self._reward(emission.PROVIDERS, index, word, epoch, index >> 4)


@external
@view
def checker_reward(index: uint256, epoch: uint256, shard: uint256, seat: uint256) -> uint256:
    """
    @notice The checker's share for that seat, whether or not it was paid; 0 outside the claim
            window and if the seat was not this checker's. Of an epoch that is not closed but could
            be: what it is if it is closed now.
    """
    # Beyond 28 bits a shard would be taken for another one.
    if seat >= results.MAX_SEATS or shard >= 2**28:
        return 0
    since: uint256 = (staticcall IRegistry(registry).checker_tenant(index))[1]
    return self._reward(emission.CHECKERS, index, since, epoch, (shard << 4) | seat)


@external
@view
def provider_claimed(index: uint256, epoch: uint256) -> bool:
    """
    @notice Whether the provider slot was paid for the epoch. Remembered for the claim window; may
            be False afterwards.
    """
    return self._claimed(emission.PROVIDERS, index, epoch, 0)


@external
@view
def checker_claimed(index: uint256, epoch: uint256, shard: uint256) -> bool:
    """
    @notice Whether the checker slot was paid for the seat it had in that shard. Remembered for the
            claim window; may be False afterwards.
    """
    return self._claimed(emission.CHECKERS, index, epoch, shard)


@external
@view
def claimable(epoch: uint256) -> bool:
    """
    @notice Whether the epoch's grace is over and the ring still holds it.
    """
    return epoch < self._closing_epoch() and self._current_epoch() < epoch + _RING_EPOCHS


@external
@view
def next_epoch() -> uint256:
    """
    @notice The first epoch that is not closed.
    """
    return self._state & _MASK_32


@external
@view
def pools(epoch: uint256) -> (uint256, uint256):
    """
    @notice The epoch's pools of providers and of checkers; 0 outside the claim window. Of an epoch
            that is not closed but could be: what they are if it is closed now.
    """
    return self._pool_of(emission.PROVIDERS, epoch), self._pool_of(emission.CHECKERS, epoch)


@external
@view
def carries() -> (uint256, uint256):
    """
    @notice What is carried on, of providers and of checkers.
    """
    return (self._state >> 64) & _MASK_96, self._state >> 160


@external
@view
def available() -> uint256:
    """
    @notice What is left in the fund, promised or not.
    """
    return self._available()


@external
@view
def paid() -> uint256:
    """
    @notice All that was ever paid.
    """
    return self.funded - self._available()


@internal
@view
def _current_epoch() -> uint256:
    if block.timestamp < _GENESIS:
        return 0
    return (block.timestamp - _GENESIS) // _EPOCH_SECONDS


@internal
@view
def _closing_epoch() -> uint256:
    """
    @notice The first epoch whose grace is not over.
    """
    if block.timestamp < _GENESIS + _GRACE_SECONDS:
        return 0
    return (block.timestamp - _GENESIS - _GRACE_SECONDS) // _EPOCH_SECONDS


@internal
@view
def _available() -> uint256:
    sum: uint256 = self.unpromised
    oldest: uint256 = (self._state >> 32) & _MASK_32
    for i: uint256 in range(_SPANS):
        sum += self._left(oldest + i)
    return sum


@internal
@view
def _left(span: uint256) -> uint256:
    """
    @notice What of a span's promises is left.
    """
    word: uint256 = self._promised[span % _SPANS]
    if word >> _SPAN_SHIFT != span:
        return 0
    return word & _MASK_128


@internal
@view
def _opened(emission_bps: uint256) -> (emission.Books, uint256):
    """
    @notice The books before the next epoch is closed: with what came back from spans that have
            expired, and with epochs that expired before anybody closed them carried on.
    @return (Books, uint256) The books; the first span whose rest has not come back.
    """
    state: uint256 = self._state
    books: emission.Books = emission.Books(
        next=state & _MASK_32,
        unpromised=self.unpromised,
        carries=[(state >> 64) & _MASK_96, state >> 160],
        pools=[0, 0],
    )
    oldest: uint256 = (state >> 32) & _MASK_32
    current: uint256 = self._current_epoch()
    if current >= _RING_EPOCHS:
        kept: uint256 = current + 1 - _RING_EPOCHS  # the oldest epoch that has not expired
        for i: uint256 in range(_SPANS):
            if oldest + i >= kept // _SPAN_EPOCHS:
                break
            books.unpromised += self._left(oldest + i)
        # Later spans had no promises: those that have are never more than six, one after another.
        oldest = max(oldest, kept // _SPAN_EPOCHS)
        # Epochs that expired before anybody closed them pay nothing any more.
        if books.next < kept:
            for kind: uint256 in range(2):
                books.carries[kind] += emission._scheduled(kind, books.next, kept, emission_bps)
            books.next = kept
    return books, oldest


@internal
def _close() -> uint256:
    """
    @notice Closes up to 64 epochs whose grace is over.
    @return uint256 The first epoch that is not closed.
    """
    until: uint256 = self._closing_epoch()
    if self._state & _MASK_32 >= until:
        return self._state & _MASK_32
    emission_bps: uint256 = staticcall ISteward(steward).value(_EMISSION_BPS)
    books: emission.Books = empty(emission.Books)
    oldest: uint256 = 0
    books, oldest = self._opened(emission_bps)
    count: uint256 = min(until - books.next, MAX_CLOSED)
    for word: uint256 in staticcall IConsensus(consensus).epoch_words(books.next, count):
        epoch: uint256 = books.next
        books = emission._closed(books, emission_bps, word)
        promised: uint256 = books.pools[0] + books.pools[1]
        if promised > 0:
            self._store_pools(epoch, books.pools)
            span: uint256 = epoch // _SPAN_EPOCHS
            self._promised[span % _SPANS] = (span << _SPAN_SHIFT) | (self._left(span) + promised)
        log EpochClosed(
            epoch=epoch,
            provider_pool=books.pools[0],
            checker_pool=books.pools[1],
            provider_carry=books.carries[0],
            checker_carry=books.carries[1],
        )
    self.unpromised = books.unpromised
    self._state = (
        books.next | (oldest << 32) | (books.carries[0] << 64) | (books.carries[1] << 160)
    )
    return books.next


@internal
def _store_pools(epoch: uint256, pools: uint256[2]):
    place: uint256 = epoch // 4 % _POOL_WORDS
    word: uint256 = self._pools[place]
    if word & _MASK_32 != epoch // 4:
        word = epoch // 4
    units: uint256 = pools[0] // emission.pool_unit | (
        (pools[1] // emission.pool_unit) << _POOL_BITS
    )
    self._pools[place] = word | (units << (32 + epoch % 4 * 2 * _POOL_BITS))


@internal
@view
def _pool_word(four: uint256) -> uint256:
    """
    @notice The word of pools of the epochs from 4 * four on; 0 if none of them was promised any.
    """
    word: uint256 = self._pools[four & (_POOL_WORDS - 1)]
    if word & _MASK_32 != four:
        return 0
    return word


@internal
@view
def _pool_in(word: uint256, kind: uint256, epoch: uint256) -> uint256:
    """
    @notice One pool of an epoch, given the word of pools that it is in.
    """
    first_bit: uint256 = unsafe_add(
        32, unsafe_mul(_POOL_BITS, unsafe_add(unsafe_mul(epoch & 3, 2), kind))
    )
    return unsafe_mul((word >> first_bit) & _MASK_28, emission.pool_unit)


@internal
@view
def _pool_of(kind: uint256, epoch: uint256) -> uint256:
    """
    @notice A pool as it is or as it would be.
    """
    if epoch >= self._closing_epoch() or epoch + _RING_EPOCHS <= self._current_epoch():
        return 0
    if epoch < self._state & _MASK_32:
        return self._pool_in(self._pool_word(epoch >> 2), kind, epoch)
    emission_bps: uint256 = staticcall ISteward(steward).value(_EMISSION_BPS)
    books: emission.Books = self._opened(emission_bps)[0]
    if epoch >= books.next + MAX_CLOSED:
        return 0
    count: uint256 = epoch + 1 - books.next
    for word: uint256 in staticcall IConsensus(consensus).epoch_words(books.next, count):
        books = emission._closed(books, emission_bps, word)
    return books.pools[kind]


@internal
@view
def _fractions(
    kind: uint256, index: uint256, tenant: uint256, places: uint256[MAX_ITEMS], count: uint256
) -> uint256[MAX_ITEMS]:
    """
    @notice What part of its pool somebody earned in each place, as part << 128 | whole; 0 if
            nothing.
    @param tenant Of a provider the slot's word, of a checker the first epoch of the tenancy.
    @param places epoch << 32 | shard << 4 | seat, or epoch << 32 | provider index >> 4.
    """
    words: uint256[2 * MAX_ITEMS] = staticcall IConsensus(consensus).entries(
        places, count, kind == emission.CHECKERS
    )
    # The epochs in which a tenant takes part: its own only, so that a reused slot's newcomer earns
    # nothing from before it joined. Consensus verified that a seat's checker was active.
    joined: uint256 = tenant
    exit: uint256 = max_value(uint256)
    latest: uint256 = 0
    contributed: uint256 = 0
    if kind == emission.PROVIDERS:
        joined = slots._joined_epoch(tenant)
        exit = slots._exit_epoch(tenant)
    else:
        contributed = staticcall IBeacon(beacon).history(index)
        latest = contributed & contributions.EPOCH_MASK
        contributed = contributed >> 32

    fractions: uint256[MAX_ITEMS] = empty(uint256[MAX_ITEMS])
    next: uint256 = 0
    seats: uint256 = _SEATS
    for i: uint256 in range(count, bound=MAX_ITEMS):
        word: uint256 = words[next]
        epoch_word: uint256 = words[unsafe_add(next, 1)]
        next = unsafe_add(next, 2)
        place: uint256 = places[i]
        epoch: uint256 = place >> 32
        if word == 0 or epoch < joined or epoch >= exit:
            continue
        if kind == emission.PROVIDERS:
            score: uint256 = (word >> ((index & 15) << 4)) & lanes.MAX_SCORE
            if score > 0:
                fractions[i] = (score << 128) | results._provider_total(epoch_word)
            continue

        seat: uint256 = place & 15
        # Bits beyond the history are 0.
        if epoch > latest or (contributed >> unsafe_sub(latest, epoch)) & 1 == 0:
            continue
        # 9 bits and 16. Units are those of a seat that reported, so there is such a seat.
        earned: uint256 = unsafe_mul(
            results._weight(results._used(word), results._deviating(word, seat)),
            results._units(word, seat),
        )
        if earned > 0 and index == results._holder(
            epoch_word, (place & _MASK_32) >> 4, seat, seats
        ):
            fractions[i] = (earned << 128) | results._checker_total(epoch_word)
    return fractions


@internal
@view
def _reward(
    kind: uint256, index: uint256, tenant: uint256, epoch: uint256, rest: uint256
) -> uint256:
    """
    @notice The share of one place, paid or not.
    """
    pool: uint256 = self._pool_of(kind, epoch)
    if pool == 0 or rest > _MASK_32:
        return 0
    places: uint256[MAX_ITEMS] = empty(uint256[MAX_ITEMS])
    places[0] = (epoch << 32) | rest
    fraction: uint256 = self._fractions(kind, index, tenant, places, 1)[0]
    if fraction == 0:
        return 0
    return pool * (fraction >> 128) // (fraction & _MASK_128)


@internal
@pure
def _paid_key(kind: uint256, index: uint256, shard: uint256, window: uint256) -> uint256:
    return (((kind << 64) | (shard << 32) | index) << 1) | (window & 1)


@internal
@view
def _claimed(kind: uint256, index: uint256, epoch: uint256, shard: uint256) -> bool:
    if max(index, max(epoch, shard)) > _MASK_32:
        return False
    window: uint256 = epoch // _WINDOW_EPOCHS
    word: uint256 = self._paid[self._paid_key(kind, index, shard, window)]
    return word >> _WINDOW_SHIFT == window and (word >> (epoch % _WINDOW_EPOCHS)) & 1 == 1


@internal
def _settle(
    kind: uint256, index: uint256, tenant: uint256, places: uint256[MAX_ITEMS], count: uint256
) -> (uint256, uint256):
    """
    @notice Marks as paid what the places have earned and was not paid yet, and takes it from what
            was promised.
    @return (uint256, uint256) Their sum; which of the places are in it, a bit for each.
    """
    self._close()
    current: uint256 = self._current_epoch()
    expired: uint256 = 0  # epochs before this one have expired
    if current >= _RING_EPOCHS:
        expired = unsafe_add(unsafe_sub(current, _RING_EPOCHS), 1)
    fractions: uint256[MAX_ITEMS] = self._fractions(kind, index, tenant, places, count)

    sum: uint256 = 0
    items: uint256 = 0
    four: uint256 = max_value(uint256)  # epochs whose word of pools is at hand
    pools: uint256 = 0
    # The words of paid bits and of promises that are at work, written when it is another's turn.
    base_key: uint256 = self._paid_key(kind, index, 0, 0)
    key: uint256 = max_value(uint256)
    bits: uint256 = 0
    span: uint256 = 0
    span_sum: uint256 = 0
    for i: uint256 in range(count, bound=MAX_ITEMS):
        fraction: uint256 = fractions[i]
        place: uint256 = places[i]
        epoch: uint256 = place >> 32
        if fraction == 0 or epoch < expired:
            continue
        if epoch >> 2 != four:
            four = epoch >> 2
            pools = self._pool_word(four)
        # An epoch that is not closed has no pool. 2**97 for a pool, 2**24 for a part: no overflow.
        amount: uint256 = unsafe_div(
            unsafe_mul(self._pool_in(pools, kind, epoch), fraction >> 128), fraction & _MASK_128
        )
        if amount == 0:
            continue

        window: uint256 = unsafe_div(epoch, _WINDOW_EPOCHS)
        own_key: uint256 = base_key | (window & 1)
        if kind == emission.CHECKERS:
            own_key |= ((place & _MASK_32) >> 4) << 33
        if own_key != key:
            if items != 0:
                self._paid[key] = bits
            key = own_key
            bits = self._paid[key]
            if bits >> _WINDOW_SHIFT != window:
                bits = window << _WINDOW_SHIFT
        bit: uint256 = 1 << (epoch % _WINDOW_EPOCHS)
        if bits & bit != 0:
            continue
        bits |= bit
        items |= 1 << i

        if epoch >> _SPAN_BITS != span:
            self._keep_promise(span, span_sum)
            span = epoch >> _SPAN_BITS
            span_sum = 0
        span_sum = unsafe_add(span_sum, amount)
        sum = unsafe_add(sum, amount)
    if sum == 0:
        failing._fail("rewards: nothing to claim")
    self._paid[key] = bits
    self._keep_promise(span, span_sum)
    return sum, items


@internal
def _keep_promise(span: uint256, amount: uint256):
    """
    @notice Takes what is paid from what the span's epochs were promised; shares never exceed it.
    """
    if amount > 0:
        self._promised[span % _SPANS] = (span << _SPAN_SHIFT) | (self._left(span) - amount)


@internal
def _pay(wallet: address, amount: uint256):
    if not extcall IERC20(token).transfer(wallet, amount, default_return_value=True):
        failing._fail("rewards: transfer failed")
