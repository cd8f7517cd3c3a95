"""What is offered: as much of the host as the settings say, and no more than there is."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_node.rental import offering
from p2p_node.rental.device_hold import DeviceHold
from p2p_node.rental.offering import Deal, choose_limits, describe_capability
from p2p_node.rental.places import Place
from p2p_node.rental.runner import Limits
from p2p_node.rental.settings import RentalSettings, RentalSettingsError
from p2p_node.workloads.backend import DeviceInfo, DeviceKind
from p2p_node.workloads.device_group import DeviceGroup
from p2p_node.workloads.numpy_backend import NumpyBackend
from protocols.device_facts import HostFacts
from protocols.errors import LocalError
from protocols.lease_offers import compute_capability_digest, encode_capability
from protocols.leases import Offer
from protocols.types import Epoch, Wallet
from tests.fakes.enclosure import FakeRunner
from tests.p2p_node.rental.landlord_world import LIMITS, SETTINGS, TEMPLATES

DEVICES = (
    DeviceInfo(DeviceKind.GPU, "NVIDIA H100", "cuda", 85 * 10**9),
    DeviceInfo(DeviceKind.CPU, "Xeon", "numpy", 10**9),
)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "count_cores", lambda: 8)
    facts = HostFacts(memory_total=16 * 10**9)
    monkeypatch.setattr(offering, "read_host_facts", lambda _: facts)


@pytest.mark.usefixtures("host")
def test_the_host_fills_in_what_the_settings_leave_out(tmp_path: Path) -> None:
    settings = RentalSettings(price=1, disk_bytes=5, processes=6)
    assert choose_limits(settings, tmp_path) == Limits(8, 12 * 10**9, 5, 6, False)
    settings = replace(settings, cores=2, memory_bytes=10**9, network=True)
    assert choose_limits(settings, tmp_path) == Limits(2, 10**9, 5, 6, True)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (RentalSettings(cores=9), r"rental_cores: found 9, expected at most the 8"),
        (RentalSettings(memory_bytes=17 * 10**9), r"rental_memory: found 17000, .* the 16000 MB"),
    ],
)
def test_more_than_the_host_has_is_refused(
    tmp_path: Path, settings: RentalSettings, said: str
) -> None:
    with pytest.raises(RentalSettingsError, match=said):
        choose_limits(settings, tmp_path)


def test_a_host_that_says_nothing_has_to_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offering, "count_cores", lambda: None)
    monkeypatch.setattr(offering, "read_host_facts", lambda _: HostFacts())
    with pytest.raises(RentalSettingsError, match="rental_cores: found auto, expected a number"):
        choose_limits(RentalSettings(), tmp_path)
    with pytest.raises(RentalSettingsError, match="rental_memory: found auto"):
        choose_limits(RentalSettings(cores=1), tmp_path)


def test_the_document_lists_what_can_be_served(tmp_path: Path) -> None:
    runner = FakeRunner(tmp_path)
    found = describe_capability(runner, LIMITS, None, DEVICES, TEMPLATES)
    assert [(gpu.name, gpu.memory) for gpu in found.gpus] == [("NVIDIA H100", 85 * 10**9)]
    assert [each.name for each in found.templates] == ["base", "server"]
    assert found.cpu == ""
    runner.refused = "needs Docker"
    with pytest.raises(RentalSettingsError, match=r"rental_templates: found none.*needs Docker"):
        describe_capability(runner, LIMITS, "Xeon", DEVICES, TEMPLATES)


def test_an_offer_is_sent_again_when_anything_differs(tmp_path: Path) -> None:
    capability = describe_capability(FakeRunner(tmp_path), LIMITS, "Xeon", DEVICES, TEMPLATES)
    deal = Deal(LIMITS, encode_capability(capability))
    offer = Offer(
        5,
        Wallet(bytes(20)),
        Epoch(0),
        SETTINGS.price,
        SETTINGS.minimum_seconds,
        SETTINGS.maximum_seconds,
        compute_capability_digest(deal.document),
    )
    assert deal.matches(offer, SETTINGS)
    for changed in (
        replace(SETTINGS, price=11),
        replace(SETTINGS, minimum_seconds=21),
        replace(SETTINGS, maximum_seconds=22),
    ):
        assert not deal.matches(offer, changed)
    more = encode_capability(replace(capability, cores=9))
    assert not Deal(LIMITS, more).matches(offer, SETTINGS)


def test_a_place_is_kept_as_it_was() -> None:
    place = Place("bubblewrap", TEMPLATES["server"], LIMITS)
    assert Place.decode(place.encode()) == place
    for damaged in (b"", b"{}", b"[]", place.encode().replace(b"cores", b"kores")):
        with pytest.raises(LocalError, match="cannot be read"):
            Place.decode(damaged)


async def test_devices_are_a_renters_until_the_hold_ends() -> None:
    """It waits for whoever has them; jobs are refused meanwhile, and taken afterwards."""
    group = DeviceGroup([NumpyBackend(rows=16)])
    await group.prepare(bytes(32), 64, 48)
    hold = DeviceHold(group, 7)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with group.reserve("bench", 1):
                nursery.start_soon(hold.run)
                with trio.move_on_after(0.1) as waiting:
                    await hold.wait()
                assert waiting.cancelled_caught
            await hold.wait()
            assert group.find_reservation() == "lease 7"
            hold.end()
            hold.end()
        assert group.find_reservation() is None
        await group.prepare(bytes(32), 64, 48)
    await group.close()
