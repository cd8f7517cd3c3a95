"""What Docker is asked to do, by a program that writes it down; and which runner is chosen."""

import json
import os
from pathlib import Path

import pytest
import trio

from p2p_node.rental import choosing
from p2p_node.rental.bubblewrap import BubblewrapRunner
from p2p_node.rental.choosing import choose_runner
from p2p_node.rental.docker import DockerRunner, find_docker
from p2p_node.rental.runner import (
    Command,
    EnclosureError,
    Limits,
    NoRunnerError,
    Template,
    WorkloadError,
)
from tests import require

pytestmark = pytest.mark.integration

TEMPLATE = Template("base", "image:1", (), (), "")
LIMITS = Limits(cores=2, memory_bytes=1 << 30, disk_bytes=1 << 28, processes=64)

PROGRAM = """#!/bin/sh
cd {place}
printf '%s\\n' "$*" >> log
case $1 in
info) cat info.json ;;
image) test -e image ;;
pull) test -e pullable && touch image || {{ echo no such image >&2; exit 1; }} ;;
run) echo $$ > pid; exec cat ;;
inspect) test -e pid && echo true $(cat pid) ;;
rm) test -e pid && kill -9 $(cat pid); rm -f pid ;;
ps) echo 5 ;;
exec) shift $(($# - 1))
  test "$1" = 9 && {{ echo $$ > relay; exec sleep 1000; }}
  test "$1" = flood && exec yes
  test "$1" != missing || exit 99; echo "out of $1" ;;
esac
"""


class FakeDocker:
    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        program = place / "docker"
        program.write_text(PROGRAM.format(place=place))
        program.chmod(0o755)
        self.answer({"ServerVersion": "20.10", "Runtimes": {"runc": {}}})

    def answer(self, facts: dict[str, object]) -> None:
        (self.place / "info.json").write_text(json.dumps(facts))

    def calls(self, name: str) -> list[list[str]]:
        lines = (self.place / "log").read_text().splitlines()
        return [line.split() for line in lines if line.split()[0] == name]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    made = FakeDocker(tmp_path / "docker-program")
    monkeypatch.setenv("PATH", f"{made.place}:{os.environ['PATH']}")
    return made


async def test_a_container_is_closed_on_all_sides(docker: FakeDocker, data_dir: Path) -> None:
    (docker.place / "image").touch()
    runner = find_docker(data_dir / "rental")
    enclosure = await runner.prepare(3, TEMPLATE, LIMITS, print)
    (line,) = docker.calls("run")
    words = " ".join(line)
    for expected in (
        "--rm --interactive --init",
        "--network none",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--read-only",
        "--label kaisar.lease=3",
        f"--label kaisar.home={runner.label}",
        "--memory 1073741824 --memory-swap 1073741824",
        "--cpus 2",
        "--pids-limit 66",
        "--ulimit fsize=268435456",
        "--oom-score-adj 1000",
        f'"source={enclosure.workspace}",target=/workspace',
        "--entrypoint cat image:1",
    ):
        assert expected in words
    user = line[line.index("--user") + 1]
    assert user == (f"{os.geteuid()}:{os.getegid()}" if os.geteuid() else "1900000003:1900000003")
    assert "--gpus" not in line
    assert not docker.calls("pull")
    await enclosure.wipe()
    assert not (docker.place / "pid").exists()
    assert not (data_dir / "rental" / "3").exists()
    assert docker.calls("rm")[-1] == ["rm", "--force", f"kaisar-{runner.label}-3"]


async def test_the_network_and_the_gpus_are_there_when_they_are_offered(
    docker: FakeDocker, data_dir: Path
) -> None:
    (docker.place / "image").touch()
    runner = DockerRunner(data_dir, str(docker.place / "docker"), gpus=True, enters_networks=False)
    limits = Limits(cores=1, memory_bytes=1 << 30, disk_bytes=1 << 28, processes=9, network=True)
    await (await runner.prepare(3, TEMPLATE, limits, print)).wipe()
    words = " ".join(docker.calls("run")[0])
    assert "--network bridge" in words
    assert "--gpus all" in words


async def test_an_image_is_pulled_once_and_its_absence_is_said(
    docker: FakeDocker, data_dir: Path
) -> None:
    runner = find_docker(data_dir / "rental")
    said: list[str] = []
    with pytest.raises(EnclosureError, match="image:1 cannot be pulled: no such image"):
        await runner.prepare(3, TEMPLATE, LIMITS, said.append)
    (docker.place / "pullable").touch()
    enclosure = await runner.prepare(3, TEMPLATE, LIMITS, said.append)
    assert said == ["pulling the image image:1"] * 2
    assert await runner.prepare(3, TEMPLATE, LIMITS, said.append) is enclosure
    assert len(docker.calls("pull")) == 2
    assert len(docker.calls("run")) == 1
    await enclosure.wipe()


async def test_commands_go_through_exec(docker: FakeDocker, data_dir: Path) -> None:
    (docker.place / "image").touch()
    runner = find_docker(data_dir / "rental")
    enclosure = await runner.prepare(3, TEMPLATE, LIMITS, print)
    command = Command((b"program", b"last"), {b"A": b"1"}, directory=b"sub")
    process = await enclosure.start(command)
    assert b"".join([bytes(part) async for part in process.stdout]) == b"out of last\n"
    assert await process.wait() == 0
    await process.aclose()
    called = docker.calls("exec")[0]
    assert called[:5] == ["exec", "--interactive", "--env", "A=1", "--workdir"]
    assert called[5:8] == ["/workspace/sub", f"kaisar-{runner.label}-3", "sh"]
    with pytest.raises(WorkloadError, match="no such program"):
        await enclosure.start(Command((b"missing",), {}))
    # A container that ends by itself is started anew.
    os.kill(int((docker.place / "pid").read_text()), 9)
    with trio.fail_after(20):
        while await enclosure._held.usage() is not None:  # type: ignore[union-attr]
            await trio.sleep(0.05)
    process = await enclosure.start(command)
    await process.aclose()
    assert len(docker.calls("run")) == 2
    await enclosure.wipe()


async def test_what_is_said_inside_does_not_fill_the_node(
    docker: FakeDocker, data_dir: Path
) -> None:
    """A renter chooses the PATH by which the shell is found that looks for its program."""
    (docker.place / "image").touch()
    enclosure = await find_docker(data_dir / "rental").prepare(3, TEMPLATE, LIMITS, print)
    with trio.fail_after(20), pytest.raises(WorkloadError, match="flood"):
        await enclosure.start(Command((b"flood",), {}))
    await enclosure.wipe()


async def test_a_relay_that_is_given_up_is_ended(docker: FakeDocker, data_dir: Path) -> None:
    (docker.place / "image").touch()
    runner = DockerRunner(data_dir, str(docker.place / "docker"), gpus=False, enters_networks=False)
    enclosure = await runner.prepare(3, TEMPLATE, LIMITS, print)
    with trio.move_on_after(1):
        await enclosure.connect(9)
    relay = int((docker.place / "relay").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(relay, 0)
    await enclosure.wipe()


async def test_containers_without_a_directory_are_left_over_as_well(
    docker: FakeDocker, data_dir: Path
) -> None:
    runner = find_docker(data_dir / "rental")
    (data_dir / "rental" / "4").mkdir()
    assert await runner.leftovers() == [4, 5]


def test_a_service_that_does_not_answer_is_no_runner(docker: FakeDocker, data_dir: Path) -> None:
    docker.answer({"ServerErrors": ["Cannot connect to the Docker daemon"]})
    with pytest.raises(NoRunnerError, match="does not answer: Cannot connect"):
        choose_runner(data_dir, "docker")


def test_a_host_with_nothing_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for wanted, said in (
        ("docker", "docker is not installed"),
        ("bubblewrap", "apt-get install bubblewrap"),
        ("auto", "docker is not installed.*apt-get install bubblewrap"),
        ("podman", "found 'podman', expected auto, docker, bubblewrap"),
    ):
        with pytest.raises(NoRunnerError, match=said):
            choose_runner(tmp_path, wanted)


def test_docker_comes_first_unless_it_would_hide_the_gpus(
    docker: FakeDocker, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require.program("bubblewrap")
    monkeypatch.setattr(choosing, "find_devices", lambda: ())
    assert isinstance(choose_runner(data_dir), DockerRunner)
    monkeypatch.setattr(choosing, "find_devices", lambda: ("/dev/nvidia0",))
    assert isinstance(choose_runner(data_dir), BubblewrapRunner)
    docker.answer({"ServerErrors": ["Cannot connect to the Docker daemon"]})
    assert isinstance(choose_runner(data_dir), BubblewrapRunner)


def test_bubblewrap_serves_what_is_on_the_host(data_dir: Path) -> None:
    require.program("bubblewrap")
    runner = choose_runner(data_dir, "bubblewrap")
    assert runner.refusal(Template("base", "x", (), (), "", "sh")) is None
    absent = runner.refusal(Template("own", "x", (), (), "", "no-such-program"))
    assert absent is not None
    assert "no-such-program in /usr" in absent
    image = runner.refusal(TEMPLATE)
    assert image is not None
    assert "needs Docker" in image
