#pragma version 0.4.3
#pragma evm-version london
"""
@title The arithmetic of emission.vy by itself
@license Apache-2.0
"""

from chain.contracts import emission
from chain.contracts import results

initializes: emission

exports: emission.pool_unit


@deploy
def __init__(
    provider_pool: uint256, checker_pool: uint256, era_epochs: uint256, carry_epochs: uint256
):
    emission.__init__(provider_pool, checker_pool, era_epochs, carry_epochs)


@external
@view
def scheduled(kind: uint256, first: uint256, until: uint256, emission_bps: uint256) -> uint256:
    return emission._scheduled(kind, first, until, emission_bps)


@external
@view
def closed(
    books: emission.Books, has_providers: bool, has_checkers: bool, emission_bps: uint256
) -> emission.Books:
    word: uint256 = 0
    if has_providers:
        word |= 1 << results.PROVIDER_TOTAL_SHIFT
    if has_checkers:
        word |= 1 << results.CHECKER_TOTAL_SHIFT
    return emission._closed(books, emission_bps, word)
