#pragma version 0.4.3
#pragma evm-version london
#pragma optimize codesize
"""
@title Renting a provider's machine
@license Apache-2.0
@notice A provider offers its machine at a price per second. Whoever opens a lease pays for all of
        it, and the fee on top, and names the key whose holder uses the machine. The provider
        accepts within some minutes, leaving a bond, or the renter is given its money back.

            RESERVED   open: paid for, not accepted
              ACTIVE   accept: the time runs; extend: for longer
               ENDED   end: by renter or provider, before the time is over
             SETTLED   settle: by anybody, when the time is over or was ended
           RECLAIMED   reclaim: it never began

        Nobody's word is needed. Seconds in epochs of which Consensus says that the provider was
        away are not paid for, whoever looks them up (judge), and the bond goes to the renter if it
        was away in the last of them or ended the lease before its time. An epoch of which there is
        no bundle, or none in the ring any more, counts as one in which it was there. Epochs after
        the end of its tenancy are such in which it was away; the slot's next tenant has nothing to
        do with the lease.

        A renter that ends its lease has what was not used returned at once. It may say that the
        machine was there until now, then everything is settled at once.

        Nobody is paid but on its own call, or by anybody's call of withdraw for its wallet, so that
        no wallet that refuses tokens is in anybody's way. Price, fee and bond are fixed when a
        lease is opened. There is no owner.
"""

from ethereum.ercs import IERC20

from . import failing
from . import lanes
from . import leases as book
from . import results
from . import slots
from .interfaces import IConsensus
from .interfaces import IRegistry
from .interfaces import IRewards

initializes: book

exports: (book.fee_bps, book.penalty_bps)

event OfferMade:
    provider: indexed(uint256)
    wallet: indexed(address)
    since: uint256
    price: uint256
    minimum_seconds: uint256
    maximum_seconds: uint256
    capability: bytes32

event OfferWithdrawn:
    provider: indexed(uint256)
    wallet: indexed(address)

event Opened:
    id: indexed(uint256)
    renter: indexed(address)
    provider: indexed(uint256)
    seconds: uint256
    price: uint256
    escrow: uint256
    key: bytes32

event Accepted:
    id: indexed(uint256)
    provider: indexed(uint256)
    bond: uint256

event Reclaimed:
    id: indexed(uint256)
    refund: uint256

event Extended:
    id: indexed(uint256)
    seconds: uint256  # in all
    paid: uint256

event Ended:
    id: indexed(uint256)
    by: indexed(address)
    ended_at: uint256
    confirmed: bool
    returned: uint256  # to the renter, before anything is judged further

event Settled:
    id: indexed(uint256)
    paid: uint256  # to the provider, with what it collected before
    fee: uint256
    refund: uint256  # to the renter, with the penalty and what was returned before
    bond_back: uint256
    penalty: uint256

event Collected:
    id: indexed(uint256)
    amount: uint256

event Withdrawn:
    wallet: indexed(address)
    amount: uint256

event FeesSwept:
    amount: uint256

# What a provider asks for its machine.
struct Offer:
    provider: uint256
    wallet: address
    since: uint256  # first epoch of the tenancy that made it
    price: uint256
    minimum_seconds: uint256
    maximum_seconds: uint256
    capability: bytes32

# Offers and leases that a page has at most, and epochs that one call looks up.
MAX_OFFERS: constant(uint256) = 64
MAX_LEASES: constant(uint256) = 32
MAX_JUDGED: constant(uint256) = 64

# Epochs before the present one in which the score of a machine is looked for that is leased now.
_BASE_EPOCHS: constant(uint256) = 4

token: public(immutable(address))
registry: public(immutable(address))
consensus: public(immutable(address))
rewards: public(immutable(address))
accept_seconds: public(immutable(uint256))
max_seconds: public(immutable(uint256))
_GENESIS: immutable(uint256)
_EPOCH_SECONDS: immutable(uint256)
_GRACE_SECONDS: immutable(uint256)
_RING_EPOCHS: immutable(uint256)
_REUSE_DELAY: immutable(uint256)

# Provider index -> price | since << 96 | minimum seconds << 128 | maximum seconds << 160; 0 if its
# tenant offers nothing. And its capability.
_offers: HashMap[uint256, uint256]
_capabilities: HashMap[uint256, bytes32]

lease_count: public(uint256)
_accepted: HashMap[uint256, uint256]  # provider index -> the lease that was accepted last

owed: public(HashMap[address, uint256])
fees: public(uint256)


@deploy
def __init__(
    token_: address,
    registry_: address,
    consensus_: address,
    rewards_: address,
    fee_bps_: uint256,
    penalty_bps_: uint256,
    accept_seconds_: uint256,
    max_seconds_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which leases are paid.
    @param registry_ The Registry that knows providers and time.
    @param consensus_ Consensus over that Registry.
    @param rewards_ Rewards in that token, whose fund gets the fees.
    @param fee_bps_ Fee on what a provider is paid, in ten-thousandths.
    @param penalty_bps_ Part of a lease's price that is the provider's bond, in ten-thousandths.
    @param accept_seconds_ How long a provider may take to accept; not zero, a day at most.
    @param max_seconds_ Longest time of a lease with all extensions; not zero, below 2**24.
    """
    book.__init__(fee_bps_, penalty_bps_)
    assert (
        staticcall IRegistry(registry_).token() == token_
        and staticcall IConsensus(consensus_).registry() == registry_
        and staticcall IRewards(rewards_).token() == token_
    ), "rental: contracts do not belong together"
    assert accept_seconds_ > 0 and accept_seconds_ <= 86_400, "rental: deadline out of range"
    assert max_seconds_ > 0 and max_seconds_ <= book.MAX_SECONDS, "rental: maximum out of range"
    token = token_
    registry = registry_
    consensus = consensus_
    rewards = rewards_
    accept_seconds = accept_seconds_
    max_seconds = max_seconds_
    _GENESIS = staticcall IRegistry(registry_).genesis()
    _EPOCH_SECONDS = staticcall IRegistry(registry_).epoch_seconds()
    _GRACE_SECONDS = staticcall IConsensus(consensus_).grace_seconds()
    _RING_EPOCHS = staticcall IConsensus(consensus_).ring_epochs()
    _REUSE_DELAY = staticcall IRegistry(registry_).reuse_delay_epochs()
    # Once for all: Rewards pulls from nobody but its caller.
    assert extcall IERC20(token_).approve(
        rewards_, max_value(uint256), default_return_value=True
    ), "rental: approval failed"


@external
def offer(
    price: uint256, minimum_seconds: uint256, maximum_seconds: uint256, capability: bytes32
):
    """
    @notice Offers the machine of the calling provider, in place of what it offered before. Leases
            that were opened stay as they are.
    @param price Per second; not zero.
    @param minimum_seconds Shortest time for which a lease is opened; not zero. A renter that ends
           it earlier pays for so much all the same.
    @param maximum_seconds Longest time of a lease with all extensions.
    @param capability Digest of what the provider says that the machine has.
    """
    if price == 0 or price > book.MAX_PRICE:
        failing._fail("rental: price out of range")
    self._check_seconds(minimum_seconds, 1, maximum_seconds)
    self._check_seconds(maximum_seconds, 1, max_seconds)
    provider: uint256 = 0
    since: uint256 = 0
    provider, since = self._calling_provider()
    self._offers[provider] = (
        price | (since << 96) | (minimum_seconds << 128) | (maximum_seconds << 160)
    )
    self._capabilities[provider] = capability
    log OfferMade(
        provider=provider,
        wallet=msg.sender,
        since=since,
        price=price,
        minimum_seconds=minimum_seconds,
        maximum_seconds=maximum_seconds,
        capability=capability,
    )


@external
def withdraw_offer():
    """
    @notice Offers the machine of the calling provider no longer. Leases that were opened stay.
    """
    provider: uint256 = (self._calling_provider())[0]
    self._offers[provider] = 0
    log OfferWithdrawn(provider=provider, wallet=msg.sender)


@external
@nonreentrant
def open(
    provider: uint256, seconds: uint256, price: uint256, minimum_seconds: uint256, key: bytes32
) -> uint256:
    """
    @notice Pays for a lease, to begin when the provider accepts it. Until then the caller can
            reclaim what it paid.
    @param provider Index of the provider, which must be active.
    @param seconds For how long, from the acceptance on.
    @param price What it offers: if it is something else by now, nothing happens.
    @param minimum_seconds Nor does anything if it asks to be paid for more than so much by who ends
           a lease early.
    @param key Ed25519 key whose holder will use the machine.
    @return uint256 The lease's id.
    """
    offered: Offer = self._offer(provider)
    if offered.wallet == empty(address):
        failing._fail("rental: no offer")
    self._check_seconds(seconds, offered.minimum_seconds, offered.maximum_seconds)
    if offered.price != price or offered.minimum_seconds > minimum_seconds:
        failing._fail("rental: other terms")
    if key == empty(bytes32):
        failing._fail("rental: key is zero")

    id: uint256 = self.lease_count + 1
    self.lease_count = id
    book._words[id] = book.Words(
        tenant=convert(convert(offered.wallet, uint160), uint256)
        | (offered.since << 160)
        | (provider << 192),
        renter=convert(convert(msg.sender, uint160), uint256) | (price << 160),
        key=key,
        terms=offered.minimum_seconds
        | (offered.maximum_seconds << 24)
        | (seconds << book.OPENED_SHIFT)
        | ((block.timestamp + accept_seconds) << book.ACCEPT_BY_SHIFT),
        course=book.RESERVED | (seconds << 8) | (seconds << 192),
    )
    escrow: uint256 = book._escrow(seconds, price)
    self._pull(escrow)
    log Opened(
        id=id,
        renter=msg.sender,
        provider=provider,
        seconds=seconds,
        price=price,
        escrow=escrow,
        key=key,
    )
    return id


@external
@nonreentrant
def accept(id: uint256):
    """
    @notice Begins a lease. Only its provider can, which must be active, in time, and not leased to
            somebody else. It leaves the bond.
    @param id The lease.
    """
    lease: book.Lease = book._load(id, 1 << book.RESERVED)
    self._check_provider(lease.tenant)
    if self._accept_by_is_over(lease.terms):
        failing._fail("rental: too late to accept")
    epoch: uint256 = self._epoch_of(block.timestamp)
    provider: uint256 = lease.tenant >> 192
    word: uint256 = staticcall IRegistry(registry).provider_word(provider)
    if not self._is_tenant(lease.tenant, word) or not slots._is_active(word, epoch):
        failing._fail("rental: provider is not active")

    # What it had when it was last seen without a lease. A lease that reaches into the epochs that
    # would be looked at leaves its base to this one: the score of a leased epoch is no proof, and
    # would be multiplied once more by every further lease.
    base: uint256 = 0
    until: uint256 = min(self._closed_until(), epoch)
    before: book.Lease = book._load(self._accepted[provider], book.ANY)
    is_inherited: bool = False
    if before.tenant == lease.tenant:
        if before.state == book.ACTIVE and block.timestamp < before.ends_at:
            failing._fail("rental: machine is leased")
        is_inherited = self._epoch_of(before.ends_at) + _BASE_EPOCHS >= until
    if is_inherited:
        base = before.terms >> book.BASE_SHIFT
    else:
        base = self._base(provider, until)
    book._words[id].terms = lease.terms | (base << book.BASE_SHIFT)

    lease.state = book.ACTIVE
    lease.started_at = block.timestamp
    lease.judged_until = epoch
    book._store(lease)
    self._accepted[provider] = id
    if lease.bond > 0:
        self._pull(lease.bond)
    log Accepted(id=id, provider=provider, bond=lease.bond)


@external
@nonreentrant
def reclaim(id: uint256):
    """
    @notice Gives up a lease that was not accepted: all that was paid goes back to the renter. The
            renter can at any time, anybody when it is too late to accept it.
    @param id The lease.
    """
    lease: book.Lease = book._load(id, 1 << book.RESERVED)
    if msg.sender != lease.renter and not self._accept_by_is_over(lease.terms):
        failing._fail("rental: too early to reclaim")
    lease.state = book.RECLAIMED
    book._store(lease)
    refund: uint256 = book._escrow(lease.seconds, lease.price)
    self.owed[lease.renter] += refund
    log Reclaimed(id=id, refund=refund)
    self._send(msg.sender)


@external
@nonreentrant
def extend(id: uint256, seconds: uint256):
    """
    @notice Prolongs the caller's lease, at its own price, before its time is over.
    @param id The lease.
    @param seconds By how much.
    """
    lease: book.Lease = book._load(id, 1 << book.ACTIVE)
    if msg.sender != lease.renter:
        failing._fail("rental: not the renter")
    if block.timestamp >= lease.ends_at:
        failing._fail("rental: time is over")
    self._check_seconds(seconds, 1, ((lease.terms >> 24) & book.MASK_24) - lease.seconds)
    paid: uint256 = book._escrow(lease.seconds, lease.price)
    lease.seconds = unsafe_add(lease.seconds, seconds)
    lease.kept_seconds = lease.seconds
    book._store(lease)
    paid = book._escrow(lease.seconds, lease.price) - paid
    self._pull(paid)
    log Extended(id=id, seconds=lease.seconds, paid=paid)


@external
@nonreentrant
def end(id: uint256, confirmed: bool):
    """
    @notice Ends a lease, by its renter or its provider. What was not used is owed to the renter at
            once, and paid if it is the caller.
    @param id The lease.
    @param confirmed The renter's word that the machine was there until now, but for the epochs that
           were judged already. Then nothing is left to wait for, and all is settled.
    """
    lease: book.Lease = book._load(id, 1 << book.ACTIVE)
    if msg.sender != lease.renter:
        self._check_provider(lease.tenant)
        if confirmed:
            failing._fail("rental: not the renter")
        if block.timestamp < lease.ends_at:
            lease.left_early = 1
    lease.ends_at = min(block.timestamp, lease.ends_at)
    lease.ended_at = lease.ends_at
    kept: uint256 = book._charged(lease)
    returned: uint256 = (
        book._escrow(lease.kept_seconds, lease.price) - book._escrow(kept, lease.price)
    )
    lease.kept_seconds = kept
    self.owed[lease.renter] += returned
    log Ended(
        id=id, by=msg.sender, ended_at=lease.ended_at, confirmed=confirmed, returned=returned
    )
    if confirmed:
        lease.gone = 0
        self._divide(lease)
    else:
        lease.state = book.ENDED
        book._store(lease)
    self._send(msg.sender)


@external
def judge(id: uint256, count: uint256) -> uint256:
    """
    @notice Looks up whether the provider was there, in the next epochs of a lease that are closed.
            Anybody may. Renters had better, before the ring has lost an epoch.
    @param id The lease.
    @param count How many epochs to look up at most, 64 at most.
    @return uint256 The first epoch that is not judged then.
    """
    lease: book.Lease = self._judged(id, min(count, MAX_JUDGED))
    book._store(lease)
    return lease.judged_until


@external
@nonreentrant
def collect(id: uint256):
    """
    @notice Credits the provider with what a lease earned in the epochs that are closed. Anybody may
            call.
    @param id The lease.
    """
    lease: book.Lease = self._judged(id, MAX_JUDGED)
    # The time up to the first epoch that is not judged.
    until: uint256 = min(self._start_of(lease.judged_until), lease.ends_at)
    earned: uint256 = max(until, lease.started_at) - lease.started_at - lease.away_seconds
    # Judging never takes back what it gave.
    amount: uint256 = (earned - lease.collected_seconds) * lease.price
    if amount == 0:
        failing._fail("rental: nothing to collect")
    lease.collected_seconds = earned
    book._store(lease)
    self.owed[convert(lease.tenant & book.MASK_160, address)] += amount
    log Collected(id=id, amount=amount)
    self._send(msg.sender)


@external
@nonreentrant
def settle(id: uint256):
    """
    @notice Divides the money of a lease whose time is over or was ended, when its last epoch is
            closed. Anybody may call. It looks up the last 64 epochs that were not judged; before
            that there may be some to judge.
    @param id The lease.
    """
    lease: book.Lease = self._judged(id, MAX_JUDGED)
    if block.timestamp < lease.ends_at:
        failing._fail("rental: time is not over")
    if lease.judged_until < self._end_of(lease):
        failing._fail("rental: not judged to its end")
    self._divide(lease)
    self._send(msg.sender)


@external
@nonreentrant
def withdraw(wallet: address):
    """
    @notice Pays a wallet what it is owed. Anybody may call.
    @param wallet Who is paid.
    """
    if self.owed[wallet] == 0:
        failing._fail("rental: nothing is owed")
    if not self._send(wallet):
        failing._fail("rental: transfer failed")


@external
@nonreentrant
def sweep_fees():
    """
    @notice Pays the fees that came together into the fund of Rewards. Anybody may call.
    """
    amount: uint256 = self.fees
    if amount == 0:
        failing._fail("rental: no fees")
    self.fees = 0
    extcall IRewards(rewards).fund(amount)
    log FeesSwept(amount=amount)


@external
@view
def offers(first: uint256, count: uint256) -> DynArray[Offer, MAX_OFFERS]:
    """
    @notice The offers of the providers from index `first` on. Where an active provider offers
            nothing, or there is none, the wallet is the zero address.
    @param first First provider index.
    @param count How many are wanted; fewer come back at the end, and never more than 64.
    """
    page: DynArray[Offer, MAX_OFFERS] = []
    allocated: uint256 = staticcall IRegistry(registry).provider_count()
    for i: uint256 in range(min(count, MAX_OFFERS), bound=MAX_OFFERS):
        if first >= allocated or i >= unsafe_sub(allocated, first):
            break
        page.append(self._offer(unsafe_add(first, i)))
    return page


@external
@view
def offer_of(provider: uint256) -> Offer:
    """
    @notice What an active provider offers. The wallet is the zero address if nothing.
    """
    return self._offer(provider)


@external
@view
def lease(id: uint256) -> book.Words:
    """
    @notice The words of one lease (leases.vy); zeros if there is none.
    """
    return book._words[id]


@external
@view
def leases(first: uint256, count: uint256) -> DynArray[book.Words, MAX_LEASES]:
    """
    @notice The words of the leases (leases.vy) from the id `first` on.
    @param first First id; they begin with 1.
    @param count How many are wanted; fewer come back at the end, and never more than 32.
    """
    page: DynArray[book.Words, MAX_LEASES] = []
    for i: uint256 in range(min(count, MAX_LEASES), bound=MAX_LEASES):
        words: book.Words = book._words[unsafe_add(first, i)]
        if words.course == 0:
            break
        page.append(words)
    return page


@external
@view
def current_lease(provider: uint256) -> uint256:
    """
    @notice The lease that has the provider's machine now; 0 if there is none.
    """
    lease: book.Lease = book._load(self._accepted[provider], book.ANY)
    if lease.state != book.ACTIVE or block.timestamp >= lease.ends_at:
        return 0
    if not self._is_tenant(
        lease.tenant, staticcall IRegistry(registry).provider_word(provider)
    ):
        return 0
    return lease.id


@internal
@view
def _epoch_of(time: uint256) -> uint256:
    """
    @notice The epoch of a time; the first one for what was before.
    """
    return unsafe_div(unsafe_sub(max(time, _GENESIS), _GENESIS), _EPOCH_SECONDS)


@internal
@view
def _start_of(epoch: uint256) -> uint256:
    # Epochs have 32 bits.
    return unsafe_add(_GENESIS, unsafe_mul(epoch, _EPOCH_SECONDS))


@internal
@view
def _closed_until() -> uint256:
    """
    @notice The first epoch of which there may still be bundles.
    """
    return self._epoch_of(block.timestamp - _GRACE_SECONDS)


@internal
@view
def _end_of(lease: book.Lease) -> uint256:
    """
    @notice The first epoch of which nothing belongs to the lease; the first one that is not judged
            if no second does.
    """
    if lease.ends_at == lease.started_at:
        return lease.judged_until
    return self._epoch_of(lease.ends_at - 1) + 1


@internal
@view
def _calling_provider() -> (uint256, uint256):
    """
    @notice Index of the active provider that calls, and the first epoch of its tenancy.
    """
    has_slot: bool = False
    provider: uint256 = 0
    has_slot, provider = staticcall IRegistry(registry).provider_index(msg.sender)
    word: uint256 = staticcall IRegistry(registry).provider_word(provider)
    if not has_slot or not slots._is_active(word, self._epoch_of(block.timestamp)):
        failing._fail("rental: provider is not active")
    return provider, slots._joined_epoch(word)


@internal
@view
def _offer(provider: uint256) -> Offer:
    """
    @notice What a provider offers, if it is active and its tenancy is the one that offered.
    """
    terms: uint256 = self._offers[provider]
    if terms == 0:
        return empty(Offer)
    word: uint256 = staticcall IRegistry(registry).provider_word(provider)
    since: uint256 = (terms >> 96) & book.MASK_32
    if slots._joined_epoch(word) != since or not slots._is_active(
        word, self._epoch_of(block.timestamp)
    ):
        return empty(Offer)
    return Offer(
        provider=provider,
        wallet=slots._wallet(word),
        since=since,
        price=terms & book.MAX_PRICE,
        minimum_seconds=(terms >> 128) & book.MASK_32,
        maximum_seconds=terms >> 160,
        capability=self._capabilities[provider],
    )


@internal
@pure
def _is_tenant(tenant: uint256, word: uint256) -> bool:
    """
    @notice Whether a slot's word is of the tenancy that a lease is with.
    """
    return (tenant ^ word) & book.MASK_192 == 0


@internal
@view
def _accept_by_is_over(terms: uint256) -> bool:
    """
    @notice Whether it is too late to accept a lease that has no base yet.
    """
    return block.timestamp > terms >> book.ACCEPT_BY_SHIFT


@internal
@view
def _check_provider(tenant: uint256):
    if msg.sender != convert(tenant & book.MASK_160, address):
        failing._fail("rental: not the provider")


@internal
@pure
def _check_seconds(seconds: uint256, least: uint256, most: uint256):
    if seconds < least or seconds > most:
        failing._fail("rental: seconds out of range")


@internal
@view
def _base(provider: uint256, until: uint256) -> uint256:
    """
    @notice The newest score of a provider that is not 0 in the last epochs before `until`, as a
            lease keeps it: epoch, score, total. 0 if there is none.
    """
    places: uint256[64] = empty(uint256[64])
    for i: uint256 in range(_BASE_EPOCHS):
        # Of epoch 0 there is no bundle.
        if i < until:
            places[i] = (unsafe_sub(unsafe_sub(until, i), 1) << 32) | (provider >> 4)
    words: uint256[128] = staticcall IConsensus(consensus).entries(places, _BASE_EPOCHS, False)
    for i: uint256 in range(_BASE_EPOCHS):
        scores: uint256 = words[unsafe_mul(2, i)]
        score: uint256 = (scores >> ((provider & 15) << 4)) & lanes.MAX_SCORE
        if score > 0:
            return (
                (places[i] >> 32)
                | (score << 32)
                | (results._provider_total(words[unsafe_add(unsafe_mul(2, i), 1)]) << 48)
            )
    return 0


@internal
@view
def _judged(id: uint256, count: uint256) -> book.Lease:
    """
    @notice A lease that began and is not settled, judged in up to `count` further epochs that have
            to be looked up.
    """
    lease: book.Lease = book._load(id, book.BEGUN)
    provider: uint256 = (lease.tenant >> 192) & book.MASK_32
    end: uint256 = min(self._closed_until(), self._end_of(lease))
    # From its exit on the provider is away for good. When somebody else has its slot, the exit is
    # not known exactly any more, but nobody gets a slot before the delay after it is over.
    word: uint256 = staticcall IRegistry(registry).provider_word(provider)
    away_from: uint256 = slots._exit_epoch(word)
    if not self._is_tenant(lease.tenant, word):
        away_from = slots._joined_epoch(word) - 1 - _REUSE_DELAY
    looked_up: uint256 = min(end, away_from)
    # What the ring may have lost is not known, whether or not it is still there by chance.
    lost: uint256 = max(self._epoch_of(block.timestamp) + 1, _RING_EPOCHS) - _RING_EPOCHS
    lost = min(lost, looked_up)
    if lease.judged_until < lost:
        lease.judged_until = lost
        lease.gone = 0
    for i: uint256 in range(count, bound=MAX_JUDGED):
        if lease.judged_until >= looked_up:
            break
        online: uint256 = staticcall IConsensus(consensus).online_map(
            lease.judged_until, provider >> 8
        )
        lease.gone = (~online >> (provider & 255)) & 1
        if lease.gone > 0:
            lease.away_seconds += self._overlap(lease, lease.judged_until + 1)
        lease.judged_until += 1
    if away_from <= lease.judged_until and lease.judged_until < end:
        lease.away_seconds += self._overlap(lease, end)
        lease.gone = 1
        lease.judged_until = end
    return lease


@internal
@view
def _overlap(lease: book.Lease, end: uint256) -> uint256:
    """
    @notice How many seconds of the epochs from the first one that is not judged up to `end`, which
            is not among them, belong to a lease, of which each has some.
    """
    return min(self._start_of(end), lease.ends_at) - max(
        self._start_of(lease.judged_until), lease.started_at
    )


@internal
def _divide(lease_: book.Lease):
    """
    @notice Divides the money of a lease that is over among provider, fund and renter.
    """
    lease: book.Lease = lease_
    lease.state = book.SETTLED
    book._store(lease)
    paid: uint256 = book._charged(lease) * lease.price
    fee: uint256 = book._fee(paid)
    penalty: uint256 = 0
    if lease.gone + lease.left_early > 0:
        penalty = lease.bond
    # What goes to the renter in all; what was returned already went before.
    refund: uint256 = book._escrow(lease.seconds, lease.price) - paid - fee + penalty
    self.fees += fee
    self.owed[lease.renter] += (
        book._escrow(lease.kept_seconds, lease.price) - paid - fee + penalty
    )
    self.owed[convert(lease.tenant & book.MASK_160, address)] += (
        paid - lease.collected_seconds * lease.price + lease.bond - penalty
    )
    log Settled(
        id=lease.id,
        paid=paid,
        fee=fee,
        refund=refund,
        bond_back=lease.bond - penalty,
        penalty=penalty,
    )


@internal
def _pull(amount: uint256):
    """
    @notice Takes an amount from the caller; all of it must arrive.
    """
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    if not extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ):
        failing._fail("rental: transfer failed")
    if staticcall IERC20(token).balanceOf(self) < before + amount:
        failing._fail("rental: not all arrived")


@internal
def _send(wallet: address) -> bool:
    """
    @notice Pays a wallet what it is owed, if anything.
    @return bool Whether that worked; if not, it stays owed.
    """
    amount: uint256 = self.owed[wallet]
    if amount == 0:
        return True
    self.owed[wallet] = 0
    # A caller cannot make just the transfer fail by giving little gas: with the 64th that is left
    # to us then, what is owed could not be written back.
    done: bool = False
    answer: Bytes[32] = b""
    done, answer = raw_call(
        token,
        abi_encode(wallet, amount, method_id=method_id("transfer(address,uint256)")),
        max_outsize=32,
        revert_on_failure=False,
    )
    if done and (len(answer) == 0 or convert(answer, uint256) == 1):
        log Withdrawn(wallet=wallet, amount=amount)
        return True
    self.owed[wallet] = amount
    return False
