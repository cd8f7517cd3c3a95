"""Process 1 of an enclosure: starts the renter's commands and connects to their servers.

Runs inside, with the system's own Python and nothing but its standard library (3.9 or newer), as
the user that workloads run as: it has no right that they lack, and what it says is believed of
its own lease only. It ends when the node closes the control socket, and everything inside with it.

A request is one packet: a JSON object, then byte strings, each after a zero byte; the last of the
descriptors that come with it is the socket for its answers.

    start     standard input, output and error as descriptors, or `terminal`: rows and columns;
              answers {"pid"}, with the terminal's descriptor, or {"error"}; later {"status"}
    signal    `pid` of a start, `signal`; no answer
    connect   `port`; answers {} with the connected socket, or {"error"}
    hello     answers {}
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

MAX_PACKET_BYTES = 208 << 10
MAX_DESCRIPTORS = 4
CONNECT_SECONDS = 10
MAX_CONNECTING = 256
LOOPBACK = ("127.0.0.1", "::1")

PR_SET_DUMPABLE = 4


def main() -> None:
    """Serve the control socket; arguments: its number, processes, bytes of a file at most."""
    control = socket.socket(fileno=int(sys.argv[1]))
    processes, file_bytes = int(sys.argv[2]), int(sys.argv[3])
    hide()
    # Counted per user namespace: only what runs in here, and this very process.
    resource.setrlimit(resource.RLIMIT_NPROC, (processes + 1, processes + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    Agent(control).serve()


def hide() -> None:
    """Let no command look into this process, or write to the node's log through it."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    # Without it a renter may trace its own agent, and harm its own lease.
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


class Asked(NamedTuple):
    """A connection that the node wants, and where it has not been tried yet."""

    answers: socket.socket
    port: int
    addresses: tuple[str, ...]


class Agent:
    """The state of process 1: what it started, and whom it owes an answer."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.started: dict[int, socket.socket] = {}
        self.connecting: dict[socket.socket, tuple[Asked, float]] = {}
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Do what is asked until the node is gone."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # What process 1 does not handle cannot be sent to it from inside.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # Under nohup, or in the background of a shell, a node ignores signals that its renters
        # send; what is ignored here would be by every command.
        for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self.selector.register(self.control, selectors.EVENT_READ)
        self.selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select(1.0 if self.connecting else None):
                if key.fileobj is self.control:
                    if not self.take_request():
                        return
                elif key.fileobj is woken:
                    woken.recv(4096)
                    self.reap()
                elif isinstance(key.fileobj, socket.socket):
                    self.finish_connecting(key.fileobj)
            self.give_up_connecting()

    def take_request(self) -> bool:
        """Read a request and do it; False at the end of the control socket."""
        data, descriptors, _, _ = socket.recv_fds(self.control, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
        if not data:
            return False
        head, *texts = data.split(b"\0")
        request = json.loads(head)
        if request["do"] == "signal":
            if request["pid"] in self.started:
                with suppress(OSError):  # It has just ended.
                    os.killpg(request["pid"], request["signal"])
            return True
        answers = socket.socket(fileno=descriptors.pop())
        answers.setblocking(False)
        try:
            if request["do"] == "start":
                self.start(request, texts, descriptors, answers)
            elif request["do"] == "connect":
                self.connect(Asked(answers, request["port"], LOOPBACK))
            else:
                answer(answers, {})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def start(
        self,
        request: dict[str, Any],
        texts: list[bytes],
        descriptors: list[int],
        answers: socket.socket,
    ) -> None:
        """Start a command in a session of its own."""
        arguments = texts[1 : 1 + request["arguments"]]
        pairs = texts[1 + request["arguments"] :]
        environment = default_environment()
        environment.update(zip(pairs[0::2], pairs[1::2]))  # noqa: B905
        directory = os.path.join(environment[b"HOME"], texts[0])
        terminal: list[int] = []
        try:
            if request["terminal"] is not None:
                terminal += os.openpty()
                size = struct.pack("HHHH", *request["terminal"], 0, 0)
                fcntl.ioctl(terminal[0], termios.TIOCSWINSZ, size)
            ends = [terminal[1]] * 3 if terminal else descriptors
            process = subprocess.Popen(  # noqa: S603
                arguments,
                stdin=ends[0],
                stdout=ends[1],
                stderr=ends[2],
                cwd=directory,
                env=environment,
                start_new_session=True,
                preexec_fn=control_terminal if terminal else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            answer(answers, {"error": explain(error, arguments[0])})
            answers.close()
        else:
            # Children are waited for in `reap`, strays as well as these.
            process.returncode = 0
            self.started[process.pid] = answers
            answer(answers, {"pid": process.pid}, terminal[:1])
        finally:
            for descriptor in terminal:
                os.close(descriptor)

    def reap(self) -> None:
        """Tell how commands ended, and take the orphans that come to process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            answers = self.started.pop(pid, None)
            if answers is not None:
                answer(answers, {"status": os.waitstatus_to_exitcode(status)})
                answers.close()

    def connect(self, asked: Asked) -> None:
        """Begin to connect to the first address that was not tried yet."""
        if len(self.connecting) >= MAX_CONNECTING:
            self.refuse(asked, "too many connections at once")
            return
        address = asked.addresses[0]
        try:
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        except OSError as error:
            self.refuse(asked, str(error))
            return
        connection.setblocking(False)
        code = connection.connect_ex((address, asked.port))
        if code == errno.EINPROGRESS:
            self.connecting[connection] = (asked, time.monotonic() + CONNECT_SECONDS)
            self.selector.register(connection, selectors.EVENT_WRITE)
        else:
            self.finish(connection, asked, code)

    def finish_connecting(self, connection: socket.socket) -> None:
        """Learn what became of an attempt."""
        asked, _ = self.connecting.pop(connection)
        self.selector.unregister(connection)
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.finish(connection, asked, code)

    def finish(self, connection: socket.socket, asked: Asked, code: int) -> None:
        """Hand a connection over when `code` is 0, or else try the next address."""
        if not code:
            answer(asked.answers, {}, [connection.fileno()])
            asked.answers.close()
        connection.close()
        if code and len(asked.addresses) > 1:
            self.connect(asked._replace(addresses=asked.addresses[1:]))
        elif code:
            self.refuse(asked, os.strerror(code))

    def refuse(self, asked: Asked, reason: str) -> None:
        """Say that there will be no connection."""
        answer(asked.answers, {"error": reason})
        asked.answers.close()

    def give_up_connecting(self) -> None:
        """Answer for those that nobody accepted in time."""
        now = time.monotonic()
        for connection, (asked, deadline) in list(self.connecting.items()):
            if now >= deadline:
                del self.connecting[connection]
                self.selector.unregister(connection)
                connection.close()
                self.refuse(asked, os.strerror(errno.ETIMEDOUT))


def explain(error: Exception, program: bytes) -> str:
    """Say what could not be started, and why."""
    if not isinstance(error, OSError) or error.errno is None:
        return os.fsdecode(program) + ": " + str(error)
    return os.fsdecode(error.filename or program) + ": " + os.strerror(error.errno)


def default_environment() -> dict[bytes, bytes]:
    """What every command finds in its environment."""
    return {
        b"PATH": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        b"HOME": b"/workspace",
        b"USER": b"renter",
        b"LOGNAME": b"renter",
        b"SHELL": b"/bin/bash" if os.path.exists("/bin/bash") else b"/bin/sh",
        b"LANG": b"C.UTF-8",
        b"TERM": b"xterm-256color",
    }


def control_terminal() -> None:
    """Make standard input the terminal of this new session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def answer(answers: socket.socket, value: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one packet; whoever does not take it has gone."""
    ancillary = []
    if descriptors:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    with suppress(OSError):
        answers.sendmsg([json.dumps(value).encode()], ancillary)


if __name__ == "__main__":
    main()
