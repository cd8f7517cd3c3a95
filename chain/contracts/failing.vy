#pragma version 0.4.3
#pragma evm-version london
"""
@title One place that reverts with a reason
@license Apache-2.0
@notice An `assert` with a reason takes some 130 bytes of code, wherever it stands; a call of this
        function takes 70. The Registry has so many that it would not fit otherwise.
"""


@internal
@pure
def _fail(reason: String[48]):
    """
    @notice Reverts with the reason.
    """
    raise reason
