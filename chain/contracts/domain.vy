#pragma version 0.4.3
#pragma evm-version london
"""
@title What checkers sign
@license Apache-2.0
@notice A report is signed as EIP-712 typed data, so a signature is good for one contract on one
        chain.
"""

NAME: constant(String[6]) = "Kaisar"
VERSION: constant(String[1]) = "1"

_DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)

# `scores` is keccak256 of the sixteen score words.
REPORT_TYPEHASH: constant(bytes32) = keccak256(
    "Report(uint32 epoch,uint32 shard,uint256 online,uint256 fraud,bytes32 scores,bytes32 evidence)"
)

# Half the order of secp256k1. A larger s is the mirror image of a valid signature (EIP-2).
HALF_ORDER: constant(uint256) = (
    57896044618658097711785492504343953926418782139537452191302581570759080747168
)

# The s of a signature as in EIP-2098, whose top bit is v - 27.
S_MASK: constant(uint256) = 2**255 - 1

_CACHED: immutable(bytes32)
_CACHED_CHAIN: immutable(uint256)


@deploy
def __init__():
    _CACHED = self._build(self)
    _CACHED_CHAIN = chain.id


@internal
@view
def _build(contract: address) -> bytes32:
    """
    @notice The domain separator of a contract on this chain.
    """
    return keccak256(
        abi_encode(_DOMAIN_TYPEHASH, keccak256(NAME), keccak256(VERSION), chain.id, contract)
    )


@internal
@view
def _separator() -> bytes32:
    """
    @notice The domain separator, rebuilt only if the chain has forked under another id.
    """
    if chain.id == _CACHED_CHAIN:
        return _CACHED
    return self._build(self)
