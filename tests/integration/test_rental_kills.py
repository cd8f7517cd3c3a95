"""A provider that is killed while its machine is rented out: what is there when it is back."""

from pathlib import Path

import pytest
import trio

from tests import require
from tests.integration.renting import RentalWorld, is_alive, rental_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FLAGS = (
    *("--rental-price", "3.6", "--rental-minimum", "5s", "--rental-maximum", "1h"),
    *("--rental-runner", "bubblewrap", "--rental-disk", "500"),
)
SECONDS = 120.0


def kill(world: RentalWorld) -> None:
    """End the provider as a power cut would."""
    process = world.provider.process
    assert process is not None
    process.kill()
    process.wait()


def find_workspaces(world: RentalWorld, name: str) -> list[Path]:
    """Where on the host a renter's file of this name lies."""
    return list((world.directory / "provider").rglob(name))


async def run_until_done(world: RentalWorld, *command: str) -> bytes:
    """Run a command in the lease; the provider may just be starting."""
    with trio.fail_after(SECONDS):
        while True:
            done = await world.rent("run", "--", *command)
            if done.status == 0:
                return done.out
            assert is_alive(world.provider), world.provider.tail(40)
            await trio.sleep(1)


async def test_a_killed_provider_keeps_its_renter_and_wipes_what_is_over(tmp_path: Path) -> None:
    require.program("bubblewrap")
    async with rental_world(tmp_path, *FLAGS) as world:
        opened = await world.rent("open", "0", flags=("--seconds", "600", "--yes", "--json"))
        assert opened.status == 0, opened.err + world.provider.tail(40)
        script = "echo kept > kept.txt; sleep 0.1"
        assert (await world.rent("run", "--", "sh", "-c", script)).status == 0
        detached = await world.rent("run", "--", "sleep", "4321", flags=("--detach",))
        assert detached.status == 0, detached.err
        assert find_workspaces(world, "kept.txt")

        kill(world)
        world.household.start(world.provider)
        assert await run_until_done(world, "cat", "kept.txt") == b"kept\n"
        # What ran there went with the node.
        found = await run_until_done(world, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert b"4321" not in found

        kill(world)
        ended = await world.rent("end", flags=("--confirm", "--json"))
        assert ended.status == 0, ended.err
        assert find_workspaces(world, "kept.txt")
        world.household.start(world.provider)
        with trio.fail_after(SECONDS):
            while find_workspaces(world, "kept.txt"):
                assert is_alive(world.provider), world.provider.tail(40)
                await trio.sleep(0.2)
        # And it takes the next one.
        again = await world.rent("open", "0", flags=("--seconds", "60", "--yes", "--json"))
        assert again.status == 0, again.err + world.provider.tail(40)
        lease = await world.rental.lease(2)
        assert lease is not None
        assert lease.started_at
        assert not find_workspaces(world, "kept.txt")
        log = world.provider.log.read_text()
        assert log.count("lease 1 accepted") == 1
