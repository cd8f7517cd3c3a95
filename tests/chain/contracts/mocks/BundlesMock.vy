#pragma version 0.4.3
#pragma evm-version london
"""
@title Put in Consensus' place: bundles are what the test says
@license Apache-2.0
"""

# epoch -> shard -> seat -> checker index, deviating lanes, lanes in use
_seats: HashMap[uint256, HashMap[uint256, HashMap[uint256, uint256[3]]]]


@external
def set_seat(
    epoch: uint256, shard: uint256, seat: uint256, checker: uint256, deviating: uint256, used: uint256
):
    self._seats[epoch][shard][seat] = [checker, deviating, used]


@external
@view
def seat_result(epoch: uint256, shard: uint256, seat: uint256) -> (uint256, uint256, uint256):
    found: uint256[3] = self._seats[epoch][shard][seat]
    return found[0], found[1], found[2]
