"""Fixtures for the chain tests."""

from collections.abc import Iterator

import pytest

from chain.rpc import Rpc
from tests.chain.backends import (
    Backend,
    DevchainBackend,
    running_anvil,
    running_devchain,
)


@pytest.fixture
def devchain() -> Iterator[DevchainBackend]:
    """A served devchain with rich wallets; blocks come from `mine`."""
    with running_devchain() as backend:
        yield backend


@pytest.fixture(params=["devchain", "anvil"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The devchain and anvil in turn; without anvil the second is skipped, or fails in CI."""
    with running_devchain() if request.param == "devchain" else running_anvil() as chosen:
        yield chosen


@pytest.fixture
def rpc(devchain: DevchainBackend) -> Iterator[Rpc]:
    """An endpoint of the devchain."""
    endpoint = Rpc(devchain.url, timeout_seconds=5.0)
    yield endpoint
    endpoint.close()
