#pragma version 0.4.3
#pragma evm-version london
"""
@title Drawing a committee
@license Apache-2.0
@notice Who may judge a shard in an epoch follows from the epoch's seed and n, the number of checker
        slots allocated before the epoch. With k = min(seats, n), h(x) = keccak256(seed, shard << 16
        | x) and offset = h(0xFFFF) % n:

            lo = j * n // k,  hi = (j + 1) * n // k
            member(j) = (offset + lo + h(j) % (hi - lo)) % n        for seats 0 <= j < k

        The n slots are cut into k runs of nearly equal length and each seat is drawn from its own
        run, so members are distinct and one seat costs one hash. Independent draws with replacement
        would leave four checkers with fewer than three distinct seats in a third of all epochs.
"""

# The x of the offset; seats are numbered far below it.
_OFFSET: constant(uint256) = 65535


@internal
@pure
def _offset(seed: bytes32, shard: uint256, n: uint256) -> uint256:
    """
    @notice Where the shard's circle of slots begins.
    @dev The caller guarantees n > 0.
    """
    return convert(keccak256(abi_encode(seed, (shard << 16) | _OFFSET)), uint256) % n


@internal
@pure
def _member(
    seed: bytes32, shard: uint256, seat: uint256, n: uint256, k: uint256, offset: uint256
) -> uint256:
    """
    @notice The checker index that holds `seat`.
    @dev The caller guarantees seat < k <= n < 2**32, so nothing here overflows and hi > lo.
    """
    lo: uint256 = unsafe_div(unsafe_mul(seat, n), k)
    hi: uint256 = unsafe_div(unsafe_add(unsafe_mul(seat, n), n), k)
    hash: uint256 = convert(keccak256(abi_encode(seed, (shard << 16) | seat)), uint256)
    return unsafe_add(unsafe_add(offset, lo), hash % unsafe_sub(hi, lo)) % n
