#pragma version 0.4.3
#pragma evm-version london
"""
@title Rewards of providers and checkers
@license Apache-2.0
@notice Each epoch has a fixed pool for providers and one for checkers, paid out of what was funded:

            provider   provider_pool * score // sum of all scores
            checker    checker_pool * (weight * stake_units) // sum of all weight * stake_units,
                       per seat that reported; nothing in an epoch in which it did not contribute to
                       Beacon (its share stays in the fund)

        Shares are rounded down, so an epoch never pays more than its pools; the dust stays in the
        fund, and so does a pool nobody earned a share of. Anybody may trigger a claim; the money
        always goes to the wallet that held the slot in that epoch. An epoch can be claimed from its
        closing (end plus grace) for as long as Consensus' ring holds it: current epoch < epoch +
        ring_epochs.

        Items of a claim that pay nothing (still open, expired, not earned, already paid) are
        skipped, so that somebody who claims one of them first cannot make the rest of the
        transaction fail.
@dev There is no owner and no way to take out what was funded but by earning it.
"""

from ethereum.ercs import IERC20

from . import slots
from .interfaces import IBeacon
from .interfaces import IConsensus
from .interfaces import IRegistry

event Funded:
    sender: indexed(address)
    amount: uint256

event ProviderPaid:
    index: indexed(uint256)
    wallet: indexed(address)
    epoch: indexed(uint256)
    amount: uint256

event CheckerPaid:
    index: indexed(uint256)
    wallet: indexed(address)
    epoch: indexed(uint256)
    shard: uint256
    seat: uint256
    amount: uint256

# One seat of one bundle, which a checker is paid for.
struct Item:
    epoch: uint256
    shard: uint256
    seat: uint256

# At about 20,000 gas an item, 64 stay far below the 10M gas we allow a transaction.
MAX_ITEMS: constant(uint256) = 64

# Seats per shard in a word of paid seats, and shards that fit beside the word's 32-bit epoch.
SEATS: constant(uint256) = 16
WORD_SHARDS: constant(uint256) = 14
_EPOCH_SHIFT: constant(uint256) = 224

token: public(immutable(address))
registry: public(immutable(address))
consensus: public(immutable(address))
beacon: public(immutable(address))
provider_pool: public(immutable(uint256))
checker_pool: public(immutable(uint256))

_GENESIS: immutable(uint256)
_EPOCH_SECONDS: immutable(uint256)
_GRACE_SECONDS: immutable(uint256)
_RING_EPOCHS: immutable(uint256)

funded: public(uint256)  # all that ever arrived through fund()
paid: public(uint256)  # all that was ever paid

# Provider index -> epoch // 256 -> bit epoch % 256: paid. Grows by one word in 256 epochs.
_paid_epochs: HashMap[uint256, HashMap[uint256, uint256]]

# (shard // 14) * ring + epoch % ring -> epoch << 224 | bit 16 * (shard % 14) + seat: paid. A ring
# like Consensus', so it stops growing; the claim window ends before a word is taken over.
_paid_seats: HashMap[uint256, uint256]


@deploy
def __init__(
    token_: address,
    registry_: address,
    consensus_: address,
    beacon_: address,
    provider_pool_: uint256,
    checker_pool_: uint256,
):
    """
    @notice Fixes the rules for ever.
    @param token_ ERC-20 in which rewards are paid.
    @param registry_ Registry of the wallets.
    @param consensus_ Consensus over that Registry and that Beacon.
    @param beacon_ Beacon whose contributors are paid.
    @param provider_pool_ What all providers together earn per epoch; below 2**128.
    @param checker_pool_ What all checkers together earn per epoch; below 2**128.
    """
    assert token_.is_contract, "rewards: token is not a contract"
    assert (
        staticcall IConsensus(consensus_).registry() == registry_
        and staticcall IConsensus(consensus_).beacon() == beacon_
    ), "rewards: contracts do not belong together"
    # Keeps pool * score and pool * weight * units far from overflow.
    assert max(provider_pool_, checker_pool_) < 2**128, "rewards: pool is too large"
    token = token_
    registry = registry_
    consensus = consensus_
    beacon = beacon_
    provider_pool = provider_pool_
    checker_pool = checker_pool_
    _GENESIS = staticcall IRegistry(registry_).genesis()
    _EPOCH_SECONDS = staticcall IRegistry(registry_).epoch_seconds()
    _GRACE_SECONDS = staticcall IConsensus(consensus_).grace_seconds()
    _RING_EPOCHS = staticcall IConsensus(consensus_).ring_epochs()


@external
@nonreentrant
def fund(amount: uint256) -> uint256:
    """
    @notice Adds to the fund. Anybody may; nobody gets it back.
    @param amount Amount pulled from the caller, who must have approved it. What arrives is counted.
    @return uint256 What arrived.
    """
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "rewards: transfer failed"
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before
    self.funded += received
    log Funded(sender=msg.sender, amount=received)
    return received


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
    wallet: address = slots._wallet(word)
    sum: uint256 = 0
    for epoch: uint256 in epochs:
        if not self._provider_claimed(index, epoch):
            amount: uint256 = self._provider_reward(index, word, epoch)
            if amount > 0:
                self._paid_epochs[index][epoch >> 8] |= 1 << (epoch & 255)
                sum += amount
                log ProviderPaid(index=index, wallet=wallet, epoch=epoch, amount=amount)
    self._pay(wallet, sum)
    return sum


@external
@nonreentrant
def claim_checker(index: uint256, items: DynArray[Item, MAX_ITEMS]) -> uint256:
    """
    @notice Pays a checker for the given reports, to its registered wallet.
    @param index The checker's index.
    @param items Epoch, shard and seat of each report; those that pay nothing are skipped.
    @return uint256 Amount paid; reverts if it would be 0.
    """
    word: uint256 = staticcall IRegistry(registry).checker_word(index)
    wallet: address = slots._wallet(word)
    sum: uint256 = 0
    for item: Item in items:
        if not self._checker_claimed(item.epoch, item.shard, item.seat):
            amount: uint256 = self._checker_reward(index, word, item.epoch, item.shard, item.seat)
            if amount > 0:
                self._mark_seat(item.epoch, item.shard, item.seat)
                sum += amount
                log CheckerPaid(
                    index=index,
                    wallet=wallet,
                    epoch=item.epoch,
                    shard=item.shard,
                    seat=item.seat,
                    amount=amount,
                )
    self._pay(wallet, sum)
    return sum


@external
@view
def provider_reward(index: uint256, epoch: uint256) -> uint256:
    """
    @notice The provider's share of the epoch, whether or not it was paid; 0 outside the claim
            window.
    """
    return self._provider_reward(index, staticcall IRegistry(registry).provider_word(index), epoch)


@external
@view
def checker_reward(index: uint256, epoch: uint256, shard: uint256, seat: uint256) -> uint256:
    """
    @notice The checker's share for that seat, whether or not it was paid; 0 outside the claim
            window and if the seat was not this checker's.
    """
    word: uint256 = staticcall IRegistry(registry).checker_word(index)
    return self._checker_reward(index, word, epoch, shard, seat)


@external
@view
def provider_claimed(index: uint256, epoch: uint256) -> bool:
    """
    @notice Whether the provider slot was paid for the epoch.
    """
    return self._provider_claimed(index, epoch)


@external
@view
def checker_claimed(epoch: uint256, shard: uint256, seat: uint256) -> bool:
    """
    @notice Whether the seat was paid. Remembered for the claim window; may be False afterwards.
    """
    return self._checker_claimed(epoch, shard, seat)


@external
@view
def claimable(epoch: uint256) -> bool:
    """
    @notice Whether the epoch is closed and not yet expired.
    """
    return self._claimable(epoch)


@external
@view
def available() -> uint256:
    """
    @notice What is left in the fund.
    """
    return self.funded - self.paid


@internal
@view
def _claimable(epoch: uint256) -> bool:
    # 2**32 bounds the arithmetic; epochs are 32 bits everywhere.
    if epoch >= 2**32:
        return False
    if block.timestamp < _GENESIS + (epoch + 1) * _EPOCH_SECONDS + _GRACE_SECONDS:
        return False
    return (block.timestamp - _GENESIS) // _EPOCH_SECONDS < epoch + _RING_EPOCHS


@internal
@view
def _provider_reward(index: uint256, word: uint256, epoch: uint256) -> uint256:
    # The tenant's own epochs only: a reused slot's newcomer earns nothing from before it joined.
    if not self._claimable(epoch) or not slots._is_active(word, epoch):
        return 0
    score: uint256 = 0
    total: uint256 = 0
    score, total = staticcall IConsensus(consensus).provider_share(epoch, index)
    if score == 0:
        return 0
    return provider_pool * score // total


@internal
@view
def _checker_reward(
    index: uint256, word: uint256, epoch: uint256, shard: uint256, seat: uint256
) -> uint256:
    # Consensus verified that the seat's checker was active; this keeps a newcomer from its
    # earnings.
    if not self._claimable(epoch) or not slots._is_active(word, epoch):
        return 0
    holder: uint256 = 0
    weight: uint256 = 0
    total: uint256 = 0
    holder, weight, total = staticcall IConsensus(consensus).checker_share(epoch, shard, seat)
    if weight == 0 or holder != index:
        return 0
    if not staticcall IBeacon(beacon).contributed(epoch, index):
        return 0
    return checker_pool * (weight * slots._units(word)) // total


@internal
@view
def _provider_claimed(index: uint256, epoch: uint256) -> bool:
    return (self._paid_epochs[index][epoch >> 8] >> (epoch & 255)) & 1 == 1


@internal
@view
def _seats_key(epoch: uint256, shard: uint256) -> uint256:
    return shard // WORD_SHARDS * _RING_EPOCHS + epoch % _RING_EPOCHS


@internal
@pure
def _seat_bit(shard: uint256, seat: uint256) -> uint256:
    return 1 << (shard % WORD_SHARDS * SEATS + seat)


@internal
@view
def _checker_claimed(epoch: uint256, shard: uint256, seat: uint256) -> bool:
    paid_seats: uint256 = self._paid_seats[self._seats_key(epoch, shard)]
    return (
        seat < SEATS
        and paid_seats >> _EPOCH_SHIFT == epoch
        and paid_seats & self._seat_bit(shard, seat) != 0
    )


@internal
def _mark_seat(epoch: uint256, shard: uint256, seat: uint256):
    key: uint256 = self._seats_key(epoch, shard)
    paid_seats: uint256 = self._paid_seats[key]
    if paid_seats >> _EPOCH_SHIFT != epoch:
        paid_seats = epoch << _EPOCH_SHIFT
    self._paid_seats[key] = paid_seats | self._seat_bit(shard, seat)


@internal
def _pay(wallet: address, amount: uint256):
    assert amount > 0, "rewards: nothing to claim"
    assert amount <= self.funded - self.paid, "rewards: fund is too small"
    self.paid += amount
    assert extcall IERC20(token).transfer(
        wallet, amount, default_return_value=True
    ), "rewards: transfer failed"
