"""An image for tests of Docker, made of programs of this host: nothing is pulled."""

import io
import subprocess
import tarfile
from pathlib import Path

IMAGE = "kaisar-test:1"

PROGRAMS = ("sh", "cat", "sleep", "head", "stty", "pwd", "ls", "id", "rm", "mkdir", "tail")
PYTHON = Path("/usr/bin/python3").resolve()
EMPTY = ("tmp", "run", "etc", "proc", "dev", "sys", "workspace")
LEFT_OUT = ("site-packages", "dist-packages", "test", "__pycache__", "idlelib", "tkinter")


def make_image() -> None:
    """Make it, unless it is there."""
    there = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False)
    if there.returncode:
        subprocess.run(
            ["docker", "import", "-", IMAGE], input=_pack(), capture_output=True, check=True
        )


def _pack() -> bytes:
    standard = Path("/usr/lib", PYTHON.name)
    wanted = {f"usr/bin/{name}": Path(f"/usr/bin/{name}") for name in PROGRAMS}
    wanted["usr/bin/python3"] = PYTHON
    for program in (*wanted.values(), *(standard / "lib-dynload").glob("*.so")):
        wanted |= {path[1:]: Path(path) for path in _find_libraries(program)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        # What is only implied would be closed to others.
        names = [*wanted, str(standard)[1:]]
        parents = {str(parent) for name in names for parent in Path(name).parents}
        for name in sorted({*parents, *EMPTY}):
            directory = tarfile.TarInfo(name)
            directory.type = tarfile.DIRTYPE
            directory.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(directory)
        for name, path in sorted(wanted.items()):
            tar.add(path.resolve(), name)
        tar.add(standard, str(standard)[1:], filter=_leave_out)
        link = tarfile.TarInfo("bin")
        link.type = tarfile.SYMTYPE
        link.linkname = "usr/bin"
        tar.addfile(link)
    return packed.getvalue()


def _find_libraries(program: Path) -> list[str]:
    shown = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [word for word in shown.split() if word.startswith("/")]


def _leave_out(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if any(part in LEFT_OUT for part in Path(entry.name).parts) else entry
