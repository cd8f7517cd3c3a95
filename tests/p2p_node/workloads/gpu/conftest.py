"""Every runtime that there is here: the host's always, the GPU's where there is one."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from p2p_node.workloads.gpu import warmup
from p2p_node.workloads.gpu.backend import GpuBackend
from p2p_node.workloads.gpu.runtime import Runtime
from tests import require
from tests.fakes import cupy_on_host
from tests.fakes.gpu_runtime import HostRuntime
from tests.p2p_node.workloads.gpu.proofs import make_backend

Cap = Callable[..., None]


def require_compiler() -> None:
    """Kernels for the host's runtimes are built here."""
    require.program("compiler")


@pytest.fixture(params=["host", "cupy on host", "cupy"])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """One device. The tests that use it hold the host's runtimes to the real one's behaviour."""
    if request.param == "cupy":
        require.gpu()
        with closing(open_real_runtime()) as real:
            yield real
    elif request.param == "cupy on host":
        require_compiler()
        monkeypatch.setattr(warmup, "TRIAL_SECONDS", 0.001)
        with (
            cupy_on_host.install(cupy_on_host.CupyOnHost()) as module,
            closing(module.CupyRuntime(1)) as found,
        ):
            yield found
    else:
        require_compiler()
        with closing(HostRuntime()) as host:
            yield host


def open_real_runtime() -> Runtime:
    from p2p_node.workloads.gpu.cupy_runtime import CupyRuntime

    return CupyRuntime(0)


@pytest.fixture
def host() -> Iterator[HostRuntime]:
    """The host's runtime, for tests that look into it or break it."""
    require_compiler()
    runtime = HostRuntime()
    yield runtime
    runtime.close()


@pytest.fixture
def backend(runtime: Runtime) -> Iterator[GpuBackend]:
    backend = make_backend(runtime)
    yield backend
    backend.close()


@pytest.fixture
def cap(monkeypatch: pytest.MonkeyPatch) -> Cap:
    """Bounds jobs by numbers instead of by time and memory, as the protocol does far beyond."""

    def set_limits(rounds: int = 9, passes: int = 3, kept_rows: int = 1 << 20) -> None:
        monkeypatch.setattr("p2p_node.workloads.gpu.rounds.MAX_ROUNDS", rounds)
        monkeypatch.setattr("p2p_node.workloads.gpu.passes.MAX_PASSES", passes)
        monkeypatch.setattr("p2p_node.workloads.gpu.sizing.MAX_KEPT_ROWS", kept_rows)

    return set_limits
