"""Files that hold secrets: made whole or not at all, and refused when others can read them."""

import os
import stat
import tempfile
from pathlib import Path

from protocols.errors import LocalError

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

MAX_SECRET_BYTES = 64 * 1024
"""A seed, a password or an encrypted wallet is far smaller; anything larger is the wrong file."""


class SecretFileError(LocalError):
    """A file with a secret is missing, cannot be read, or others can read it."""


def make_private_directory(directory: Path) -> None:
    """Create `directory` and its parents, mode 0700, or check the mode of one that exists."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise SecretFileError(f"cannot create the directory {directory}: {_why(error)}") from error
    check_private_directory(directory)


def check_private_directory(directory: Path) -> None:
    """Raise SecretFileError unless `directory` exists and belongs to its owner alone."""
    try:
        mode = directory.stat().st_mode
    except OSError as error:
        raise SecretFileError(f"cannot read the directory {directory}: {_why(error)}") from error
    if not stat.S_ISDIR(mode):
        raise SecretFileError(f"{directory}: found a file, expected a directory")
    _require_private(directory, mode, DIRECTORY_MODE)


def create_secret_file(path: Path, content: bytes) -> None:
    """Write a new file, mode 0600, durably and all at once.

    It is written under another name, flushed to the disk and then linked, so that a crash leaves
    either no file or the whole one. SecretFileError when `path` exists: a key is never replaced.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)
        finally:
            os.unlink(name)
        _flush_directory(path.parent)
    except FileExistsError:
        raise SecretFileError(f"{path} exists already, and is not overwritten") from None
    except OSError as error:
        raise SecretFileError(f"cannot write {path}: {_why(error)}") from error


def read_secret_file(path: Path, what: str) -> bytes:
    """Return the content of a file with a secret; `what` names it in errors.

    SecretFileError when it is missing, too long to be one, or readable by anybody else. The mode
    is that of the opened file, so that nobody can exchange it between the check and the reading.
    """
    try:
        # O_NONBLOCK: opening a named pipe by mistake must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise SecretFileError(f"{what} {path}: not an ordinary file")
            _require_private(path, mode, FILE_MODE)
            content = file.read(MAX_SECRET_BYTES + 1)
    except FileNotFoundError:
        raise SecretFileError(f"{what} {path}: there is no such file") from None
    except OSError as error:
        raise SecretFileError(f"{what} {path}: {_why(error)}") from error
    if len(content) > MAX_SECRET_BYTES:
        raise SecretFileError(f"{what} {path}: longer than {MAX_SECRET_BYTES} bytes")
    return content


def _require_private(path: Path, mode: int, expected: int) -> None:
    if mode & 0o077:
        raise SecretFileError(
            f"{path}: found mode {stat.S_IMODE(mode):04o}, which lets others in; "
            f"expected {expected:04o} (chmod {expected:o} {path})"
        )


def _flush_directory(directory: Path) -> None:
    """Make a new name in `directory` survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
