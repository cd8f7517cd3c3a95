"""Looks for what pip cannot bring, and names the one command that does.

libp2p 0.8.1 needs fastecdsa 2.3.2, which is published without a wheel: a C compiler, Python's
headers and GMP's have to be there. `make setup` runs this with the interpreter that it is going
to use. Standard library only; it has to say something useful under an old Python, too.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

OLDEST_PYTHON = (3, 11)

PYTHON, VENV, COMPILER, HEADERS, GMP = "python", "venv", "compiler", "headers", "gmp"

WHAT_IS_MISSING = {
    PYTHON: "Python 3.11 or newer",
    VENV: "Python's venv module with ensurepip",
    COMPILER: "a C compiler",
    HEADERS: "Python's header Python.h",
    GMP: "the GMP library's header gmp.h",
}

PACKAGES = {
    "debian": {
        PYTHON: "python3.11",
        VENV: "{python}-venv",
        COMPILER: "build-essential",
        HEADERS: "{python}-dev",
        GMP: "libgmp-dev",
    },
    "fedora": {
        PYTHON: "python3.12",
        VENV: "python3",
        COMPILER: "gcc",
        HEADERS: "python3-devel",
        GMP: "gmp-devel",
    },
    "arch": {PYTHON: "python", VENV: "python", COMPILER: "gcc", HEADERS: "python", GMP: "gmp"},
    "alpine": {
        PYTHON: "python3",
        VENV: "python3",
        COMPILER: "build-base",
        HEADERS: "python3-dev",
        GMP: "gmp-dev",
    },
    "macos": {PYTHON: "python", VENV: "python", COMPILER: "gcc", HEADERS: "python", GMP: "gmp"},
}

COMMANDS = {
    "debian": "apt-get install -y",
    "fedora": "dnf install -y",
    "arch": "pacman -S --needed",
    "alpine": "apk add",
    "macos": "brew install",
}

RELATIVES = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora"}


def find_system(platform, os_release):
    """Return a key of COMMANDS, or None. `os_release` is the text of /etc/os-release."""
    if platform == "darwin":
        return "macos"
    names = []
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key in ("ID", "ID_LIKE"):
            names += value.strip("\"'").lower().split()
    for name in names:
        name = RELATIVES.get(name, name)
        if name in COMMANDS:
            return name
    return None


def name_command(missing, system, version, is_root):
    """Return the command that installs what is missing on `system`."""
    names = PACKAGES[system]
    packages = []
    for item in missing:
        # Debian names the packages of an interpreter after its version. An interpreter that is
        # too old is replaced, so what belongs to it has to fit the new one.
        python = names[PYTHON] if PYTHON in missing else f"python{version[0]}.{version[1]}"
        package = names[item].format(python=python)
        if package not in packages:
            packages.append(package)
    sudo = "" if is_root or system == "macos" else "sudo "
    return sudo + COMMANDS[system] + " " + " ".join(packages)


def find_missing():
    """Return the keys of WHAT_IS_MISSING for this interpreter and machine."""
    compiler = find_compiler()
    headers = os.path.join(sysconfig.get_path("include"), "Python.h")
    # What belongs to an interpreter that is too old says nothing about the one to come.
    new_enough = sys.version_info >= OLDEST_PYTHON
    found = {
        PYTHON: new_enough,
        VENV: new_enough and has_venv(),
        COMPILER: compiler is not None,
        HEADERS: new_enough and os.path.exists(headers),
        GMP: has_header(compiler, "gmp.h"),
    }
    return [item for item in WHAT_IS_MISSING if not found[item]]


def has_venv():
    """Tell whether `python -m venv` will work; Debian packs half of it apart."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def find_compiler():
    """Return the command line of the compiler that setuptools will call, or None."""
    configured = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    for command in (shlex.split(configured), ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


def has_header(compiler, header):
    """Tell whether the compiler finds a header; without one, look where headers usually are."""
    if compiler is None:
        return any(
            os.path.exists(os.path.join(directory, header))
            for directory in ("/usr/include", "/usr/local/include", "/opt/homebrew/include")
        ) or os.path.exists(f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}/{header}")
    with tempfile.TemporaryDirectory() as directory:
        source = os.path.join(directory, "probe.c")
        with open(source, "w") as file:
            file.write(f"#include <{header}>\n")
        flags = shlex.split(os.environ.get("CPPFLAGS", "") + " " + os.environ.get("CFLAGS", ""))
        run = subprocess.run(  # noqa: S603 (the compiler of whoever runs this)
            [*compiler, *flags, "-E", source, "-o", os.devnull],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return run.returncode == 0


def read_os_release():
    """Return the text of /etc/os-release, empty where there is none."""
    try:
        with open("/etc/os-release") as file:
            return file.read()
    except OSError:
        return ""


def describe(missing, system, version, is_root):
    """Say what is missing and what to type."""
    lines = ["Missing on this machine:"]
    lines += ["  - " + WHAT_IS_MISSING[item] for item in missing]
    if system is None:
        lines.append("Install these with this machine's package manager, then run make again.")
    else:
        lines.append("This brings it, then run make again:")
        lines.append("  " + name_command(missing, system, version, is_root))
    if system == "macos" and GMP in missing:
        lines.append("and let the compiler find it:")
        lines.append(
            '  export CPATH="$(brew --prefix)/include" LIBRARY_PATH="$(brew --prefix)/lib"'
        )
    if PYTHON in missing:
        lines.append(
            f"(found Python {version[0]}.{version[1]} at {sys.executable}; "
            "another one can be named: make PYTHON=/path/to/python3)"
        )
    return "\n".join(lines)


def main():
    """Print what is missing; exit status 1 if anything is."""
    missing = find_missing()
    if not missing:
        return 0
    system = find_system(sys.platform, read_os_release())
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    sys.stderr.write(describe(missing, system, sys.version_info[:2], is_root) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
