"""Docker's command lines: what isolates a container, and how commands get into it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from p2p_node.rental.container_warden import FILE_LIMIT
from p2p_node.rental.runner import WORKSPACE, Command, Limits
from p2p_node.rental.watcher import OWN_PROCESSES

LEASE_LABEL: Final = "kaisar.lease"
HOME_LABEL: Final = "kaisar.home"

_TMP_BYTES: Final = 1 << 30
_HOME: Final = WORKSPACE.decode()

CHECK: Final = """
case $1 in
*/*) [ -x "$1" ] && [ ! -d "$1" ] && exit 0 ;;
*) IFS=:; for d in $PATH; do [ -x "$d/$1" ] && [ ! -d "$d/$1" ] && exit 0; done ;;
esac
exit 99
"""
"""Succeeds where the program can be started; without any program but the shell."""

ENTER: Final = 'echo $$ >"/kaisar/$1"; shift; exec "$@"'
"""Notes the process that becomes the command, for SIGNAL: Docker keeps it to itself."""

ENTER_TERMINAL: Final = 'stty rows "$1" cols "$2" 2>/dev/null; shift 2; ' + ENTER
"""Docker itself gives a terminal its size only a moment after the command has begun."""

SIGNAL: Final = """
i=0
while [ ! -s "/kaisar/$2" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done
read p <"/kaisar/$2" && kill "-$1" "-$p"
"""

RESIZE: Final = 'read p <"/kaisar/$3" && stty rows "$1" cols "$2" <"/proc/$p/fd/0"'
"""Docker's own program does the same, unless it is told in its first moment."""

RELAY: Final = """
if command -v python3 >/dev/null; then exec python3 -c "$1" "$2"; fi
exec bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" || exit 1; printf +; cat >&3 & exec cat <&3' "$2"
"""
"""Stands between a socket inside and its own pipes, where the node may not enter the network."""

PYTHON_RELAY: Final = """
import os, socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
s.settimeout(None)
os.write(1, b"+")
def send():
    while data := os.read(0, 65536):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := s.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""


def build_run(
    *,
    name: str,
    home_label: str,
    lease_id: int,
    image: str,
    workspace: Path,
    limits: Limits,
    user: tuple[int, int],
    gpus: bool,
) -> list[str]:
    """The arguments that start a lease's container, attached to its first process's input."""
    tmp = min(limits.memory_bytes // 2, _TMP_BYTES)
    # A field of comma-separated values: quoted, a path may have commas as well.
    source = '"source=' + str(workspace).replace('"', '""') + '"'
    arguments = ["run", "--rm", "--interactive", "--init", "--name", name]
    arguments += ["--label", f"{LEASE_LABEL}={lease_id}", "--label", f"{HOME_LABEL}={home_label}"]
    arguments += ["--network", "bridge" if limits.network else "none"]
    arguments += ["--hostname", f"lease-{lease_id}", "--ipc", "private"]
    arguments += ["--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)]
    arguments += ["--cpus", str(limits.cores)]
    arguments += ["--pids-limit", str(limits.processes + OWN_PROCESSES)]
    arguments += ["--ulimit", "core=0", "--ulimit", f"fsize={FILE_LIMIT}"]
    arguments += ["--ulimit", "nofile=4096:16384", "--oom-score-adj", "1000"]
    arguments += ["--read-only", "--tmpfs", f"/tmp:rw,exec,nosuid,nodev,mode=1777,size={tmp}"]  # noqa: S108
    arguments += ["--tmpfs", "/run:rw,nosuid,nodev,mode=1777,size=16777216"]
    # No image has it: where one has a directory, that directory's permissions prevail.
    arguments += ["--tmpfs", "/kaisar:rw,noexec,nosuid,nodev,mode=1777,size=1048576"]
    arguments += ["--shm-size", str(max(limits.memory_bytes // 2, 1 << 20))]
    arguments += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    arguments += ["--user", f"{user[0]}:{user[1]}", "--log-driver", "none"]
    arguments += ["--mount", f"type=bind,{source},target={_HOME}", "--workdir", _HOME]
    for variable, value in (
        ("HOME", _HOME),
        ("USER", "renter"),
        ("LOGNAME", "renter"),
        ("LANG", "C.UTF-8"),
    ):
        arguments += ["--env", f"{variable}={value}"]
    if gpus:
        arguments += ["--gpus", "all"]
    return [*arguments, "--entrypoint", "cat", image]


def build_exec(name: str, command: Command, script: str, *arguments: str) -> list[str]:
    """The arguments that run a shell script in a command's surroundings, then the command's own."""
    options = ["exec", "--interactive"]
    if command.terminal is not None:
        options += ["--tty", "--env", "TERM=xterm-256color"]
    for variable, value in command.environment.items():
        options += ["--env", os.fsdecode(variable + b"=" + value)]
    directory = os.path.join(_HOME, os.fsdecode(command.directory))
    words = [os.fsdecode(each) for each in command.argv]
    return [*options, "--workdir", directory, name, "sh", "-c", script, "sh", *arguments, *words]


def build_script(name: str, script: str, *arguments: str) -> Sequence[str]:
    """The arguments that run a shell script of ours inside."""
    return ["exec", "--interactive", name, "sh", "-c", script, "sh", *arguments]
