"""The command line of an enclosure, and the filter of its system calls."""

import struct

import pytest

from p2p_node.rental import box, runner, seccomp
from p2p_node.rental.box import BoxPlan, build_arguments, build_command, list_files

PLAN = BoxPlan(7, "/data/7/workspace", 1 << 30, network=False, hides_userns=True)


def arguments(plan: BoxPlan = PLAN) -> list[str]:
    return build_arguments(plan, {"/etc/passwd": 5}, info=6, seccomp=7, command=["agent"])


def test_the_workspace_is_the_home() -> None:
    assert box.HOME.encode() == runner.WORKSPACE


def test_only_the_workspace_can_be_written_to() -> None:
    line = arguments()
    binds = [line[index + 1 : index + 3] for index, word in enumerate(line) if word == "--bind"]
    assert binds == [["/data/7/workspace", "/workspace"]]
    assert "--dev-bind" not in line
    sources = [line[i + 1] for i, word in enumerate(line) if word.startswith("--ro-bind")]
    assert not {source for source in sources if source.startswith(("/root", "/home", "/var"))}


def test_the_network_is_shared_only_when_the_offer_says_so() -> None:
    shared = arguments(BoxPlan(7, "/w", 1 << 30, network=True, hides_userns=True))
    assert "--unshare-net" in arguments()
    assert "--unshare-net" not in shared
    assert any(word.endswith("resolv.conf") for word in shared)
    assert not any(word.endswith("resolv.conf") for word in arguments())


def test_everything_else_is_a_namespace_of_its_own_and_dies_with_its_parent() -> None:
    line = arguments()
    for word in ("user", "ipc", "pid", "uts"):
        assert f"--unshare-{word}" in line
    for word in ("--die-with-parent", "--new-session", "--as-pid-1", "--disable-userns"):
        assert word in line
    assert line[-2:] == ["--", "agent"]
    older = BoxPlan(7, "/w", 1 << 30, network=False, hides_userns=False)
    assert "--disable-userns" not in arguments(older)


def test_devices_of_the_gpus_are_shown() -> None:
    plan = BoxPlan(7, "/w", 1 << 30, False, True, ("/dev/nvidia0",))
    line = arguments(plan)
    at = line.index("--dev-bind-try")
    assert line[at + 1 : at + 3] == ["/dev/nvidia0", "/dev/nvidia0"]


def test_its_users_are_its_own() -> None:
    files = list_files(PLAN)
    assert files["/etc/passwd"].startswith(b"renter:x:1000:1000:")
    assert b"root" not in files["/etc/passwd"]
    assert files["/etc/hostname"] == b"lease-7\n"


def test_the_agent_is_told_its_limits() -> None:
    assert build_command(9, 64, 1000)[-3:] == ["9", "64", "1000"]


def judge(code: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = 0xC000003E) -> int:
    """Run the filter as the kernel does."""
    packed = struct.pack("=iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("=HBBI", code))
    accumulator = at = 0
    while True:
        kind, if_true, if_false, value = program[at]
        at += 1
        if kind == 0x20:
            (accumulator,) = struct.unpack_from("=I", packed, value)
        elif kind == 0x06:
            return int(value)
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[kind]
            at += if_true if holds else if_false


ALLOWED = 0x7FFF0000
REFUSED = 0x00050001


@pytest.mark.parametrize(
    ("number", "given", "verdict"),
    [
        (0, (), ALLOWED),
        (41, (2,), ALLOWED),
        (41, (1,), ALLOWED),
        (41, (40,), 0x00050061),
        (41, (17,), 0x00050061),
        (16, (0, 0x5401), ALLOWED),
        (16, (0, 0x5412), REFUSED),
        (16, (0, (1 << 32) | 0x5412), REFUSED),
        (56, (17,), ALLOWED),
        (56, (0x10000011,), REFUSED),
        (435, (), 0x00050026),
        (250, (), REFUSED),
        (272, (), REFUSED),
        (0x40000001, (), 0x00050026),
        (203, (), ALLOWED),
    ],
)
def test_the_filter_on_x86_64(number: int, given: tuple[int, ...], verdict: int) -> None:
    code = seccomp.build_filter(pin_cores=False, machine="x86_64")
    assert code is not None
    assert judge(code, number, given) == verdict


def test_the_filter_knows_its_processor() -> None:
    code = seccomp.build_filter(pin_cores=True, machine="x86_64")
    assert code is not None
    assert judge(code, 203) == REFUSED
    assert judge(code, 319) == ALLOWED
    counting = seccomp.build_filter(pin_cores=True, count_memory=True, machine="x86_64")
    assert counting is not None
    assert judge(counting, 319) == judge(counting, 29) == REFUSED
    assert judge(code, 0, arch=0x40000003) == 0x00050026
    arm = seccomp.build_filter(pin_cores=False, machine="aarch64")
    assert arm is not None
    assert judge(arm, 198, (40,), 0xC00000B7) == 0x00050061
    assert judge(arm, 97, (), 0xC00000B7) == REFUSED
    assert seccomp.build_filter(pin_cores=False, machine="riscv64") is None
