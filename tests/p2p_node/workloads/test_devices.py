"""Finding devices: what the setting means, and what becomes of GPUs that are not there."""

import pytest

from p2p_node.workloads.backend import DeviceKind, DeviceLostError, DeviceMemoryError
from p2p_node.workloads.devices import (
    EXPECTED,
    DeviceChoice,
    NoSuchDeviceError,
    open_devices,
    parse_devices,
)
from p2p_node.workloads.gpu.devices import GpuFacts, GpuList
from p2p_node.workloads.numpy_backend import NumpyBackend
from tests.p2p_node.workloads.held_backend import HeldBackend

NONE = GpuList((), "CuPy is not usable: no module named cupy")
MANY = "gpu:" + ",".join(map(str, range(17)))
TWO = GpuList((GpuFacts(0, "first", 1 << 30), GpuFacts(1, "second", 1 << 30)), None)


class Opener:
    """Opens fake GPUs, but for those with a fault."""

    def __init__(self, faults: dict[int, Exception] | None = None) -> None:
        self.faults = faults or {}
        self.opened: dict[int, HeldBackend] = {}

    def __call__(self, index: int) -> HeldBackend:
        if index in self.faults:
            raise self.faults[index]
        self.opened[index] = HeldBackend()
        return self.opened[index]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", DeviceChoice()),
        ("cpu", DeviceChoice(DeviceKind.CPU)),
        ("gpu", DeviceChoice(DeviceKind.GPU)),
        ("gpu:0", DeviceChoice(DeviceKind.GPU, (0,))),
        ("gpu:3,1", DeviceChoice(DeviceKind.GPU, (3, 1))),
    ],
)
def test_what_the_setting_means(text: str, choice: DeviceChoice) -> None:
    assert parse_devices(text) == choice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GPU",
        "gpu:",
        "gpu:a",
        "gpu:0,0",
        "gpu:-1",
        "gpu:0,",
        "cpu:1",
        "gpu:²",
        "gpu:99999",
        MANY,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected auto, cpu, gpu") as refused:
        parse_devices(text)
    assert EXPECTED in str(refused.value)


@pytest.mark.parametrize("text", ["auto", "cpu"])
def test_without_a_gpu_there_is_the_cpu(text: str) -> None:
    choice = parse_devices(text)
    (backend,) = open_devices(
        choice, cpu_threads=2, cpu_memory_bytes=1 << 20, find_gpus=lambda: NONE
    )
    assert isinstance(backend, NumpyBackend)
    assert backend.describe().memory_bytes == 1 << 20
    backend.close()


@pytest.mark.parametrize("text", ["auto", "gpu", "gpu:0,1"])
def test_all_gpus_are_opened(text: str) -> None:
    opener = Opener()
    backends = open_devices(parse_devices(text), find_gpus=lambda: TWO, open_one=opener)
    assert backends == [opener.opened[0], opener.opened[1]]


def test_gpus_are_opened_in_the_order_asked_for() -> None:
    opener = Opener()
    backends = open_devices(parse_devices("gpu:1,0"), find_gpus=lambda: TWO, open_one=opener)
    assert backends == [opener.opened[1], opener.opened[0]]


def test_more_gpus_than_a_proof_has_room_for_are_left_out() -> None:
    opener = Opener()
    many = GpuList(tuple(GpuFacts(i, "one of many", 0) for i in range(20)), None)
    assert len(open_devices(DeviceChoice(), find_gpus=lambda: many, open_one=opener)) == 16


@pytest.mark.parametrize(
    ("text", "found", "reason"),
    [
        ("gpu", NONE, "no GPU: CuPy is not usable"),
        ("gpu:0", NONE, "no GPU: CuPy is not usable"),
        ("gpu:0,2,7", TWO, r"no GPU 2, 7 among \[0, 1\]"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(text: str, found: GpuList, reason: str) -> None:
    with pytest.raises(NoSuchDeviceError, match=reason):
        open_devices(parse_devices(text), find_gpus=lambda: found, open_one=Opener())


@pytest.mark.parametrize("error", [DeviceLostError("fell off"), DeviceMemoryError("full")])
def test_a_gpu_that_cannot_be_used(error: Exception) -> None:
    """It is left out, unless it was asked for by its number."""
    opener = Opener({1: error})
    for text in ("auto", "gpu"):
        backends = open_devices(parse_devices(text), find_gpus=lambda: TWO, open_one=opener)
        assert backends == [opener.opened[0]]
    with pytest.raises(NoSuchDeviceError, match=f"GPU 1 cannot be used: {error}"):
        open_devices(parse_devices("gpu:0,1"), find_gpus=lambda: TWO, open_one=opener)
    assert opener.opened[0].closed == 1


def test_no_usable_gpu_leaves_the_cpu_unless_gpus_were_asked_for() -> None:
    opener = Opener({0: DeviceLostError("gone"), 1: DeviceLostError("gone")})
    (backend,) = open_devices(DeviceChoice(), find_gpus=lambda: TWO, open_one=opener)
    assert isinstance(backend, NumpyBackend)
    backend.close()
    with pytest.raises(NoSuchDeviceError, match="no GPU can be used"):
        open_devices(DeviceChoice(DeviceKind.GPU), find_gpus=lambda: TWO, open_one=opener)
