"""A PostgreSQL server of one's own, for the length of a test session."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import create_engine, text

from tests import require

USERS: Final = ("postgres", "nobody")
"""Who may run the server where the tests run as root, which initdb refuses."""

START_SECONDS: Final = 60


class Server:
    """A running server that listens on a socket of this directory only."""

    def __init__(self, sockets: Path, user: str) -> None:
        self._sockets = sockets
        self._user = user
        self._made = 0

    def url(self, name: str) -> str:
        """Address of a database of this server."""
        return f"postgresql://{self._user}@/{name}?host={quote(str(self._sockets))}"

    def make_database(self) -> str:
        """Make an empty database, and return its address."""
        self._made += 1
        name = f"test_{os.getpid()}_{self._made}"
        self.administer(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Delete a database, whoever is still connected."""
        name = url.partition("@/")[2].partition("?")[0]
        self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    def administer(self, statement: str) -> None:
        """Execute one statement outside any transaction."""
        address = self.url("postgres").replace("postgresql:", "postgresql+psycopg:", 1)
        engine = create_engine(address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@contextmanager
def run_server() -> Iterator[Server]:
    """Run a new server until the block ends. Skips, or fails, where PostgreSQL is missing."""
    programs = Path(require.program("postgresql")).resolve().parent
    # The path of a socket may have 107 bytes, which pytest's own directories can exceed.
    directory = Path(tempfile.mkdtemp(prefix="kaisar-pg-"))
    owner = _find_owner()
    try:
        if owner is not None:
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        user = (owner or pwd.getpwuid(os.getuid())).pw_name
        data = directory / "data"
        make = [programs / "initdb", "-D", data, "-A", "trust", "-U", user]
        _run([*make, "-E", "UTF8", "--no-locale", "--no-sync"], owner)
        settings = {
            "listen_addresses": "''",
            "unix_socket_directories": str(directory),
            "max_connections": "100",
            # The machine survives the tests; that commits are asked to be durable is in the code.
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        control = [programs / "pg_ctl", "-D", data, "-w", "-t", str(START_SECONDS)]
        _run([*control, "-l", directory / "log", "-o", options, "start"], owner)
        try:
            yield Server(directory, user)
        finally:
            _run([*control, "-m", "immediate", "stop"], owner)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _find_owner() -> pwd.struct_passwd | None:
    """Who shall run the server; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    require.miss("postgresql", f"root cannot run it, and there is none of {', '.join(USERS)}")
    raise AssertionError("unreachable")


def _run(command: list[str | Path], owner: pwd.struct_passwd | None) -> None:
    """Run one of PostgreSQL's programs, as `owner`; fail with what it said."""
    done = subprocess.run(
        [str(word) for word in command],
        user=None if owner is None else owner.pw_uid,
        group=None if owner is None else owner.pw_gid,
        extra_groups=None if owner is None else (),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        timeout=2 * START_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stdout or b"").decode(errors="replace")
        raise RuntimeError(f"{Path(str(command[0])).name} failed: {said[-2000:]}")
