"""The project's own files: set-up, versions, and rules that no linter knows."""

import ast
import importlib.util
import os
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests import require

ROOT = Path(__file__).parents[1]
PACKAGES = ("protocols", "chain", "p2p_node", "bench")
LONGEST_FILE = 500


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


# Versions


def pins() -> dict[str, str]:
    """Return the constraints by normalised name; the form of each line is checked on the way."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][A-Za-z0-9.]*)", line)
            assert match, f"{line!r} is not name==version"
            found[normalise(match[1])] = match[2]
    return found


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_pin_every_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # CuPy is not among them: it depends on the machine's driver and is never in CI.
    requirements = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {normalise(re.split(r"[\[<>=~!;\s]", text, maxsplit=1)[0]) for text in requirements}
    assert names <= set(pins())


def test_libp2p_is_the_version_that_was_measured() -> None:
    assert pins()["libp2p"] == "0.8.1"


# Set-up


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prerequisites = load_script("check_prerequisites")

DEBIAN = 'NAME="Debian"\nID=debian\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
MINT = 'ID=linuxmint\nID_LIKE="ubuntu debian"\n'
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'


@pytest.mark.parametrize(
    ("platform", "os_release", "system"),
    [
        ("linux", DEBIAN, "debian"),
        ("linux", UBUNTU, "debian"),
        ("linux", MINT, "debian"),
        ("linux", ROCKY, "fedora"),
        ("linux", "ID=fedora\n", "fedora"),
        ("linux", "ID=arch\n", "arch"),
        ("linux", "ID=alpine\n", "alpine"),
        ("linux", "ID=nixos\n", None),
        ("linux", "", None),
        ("darwin", "", "macos"),
    ],
)
def test_system_is_recognised(platform: str, os_release: str, system: str | None) -> None:
    assert prerequisites.find_system(platform, os_release) == system


@pytest.mark.parametrize(
    ("missing", "system", "is_root", "command"),
    [
        (["gmp"], "debian", True, "apt-get install -y libgmp-dev"),
        (
            ["venv", "compiler", "headers", "gmp"],
            "debian",
            False,
            "sudo apt-get install -y python3.12-venv build-essential python3.12-dev libgmp-dev",
        ),
        (
            ["python", "venv", "headers"],
            "debian",
            True,
            "apt-get install -y python3.11 python3.11-venv python3.11-dev",
        ),
        (
            ["compiler", "headers", "gmp"],
            "fedora",
            False,
            "sudo dnf install -y gcc python3-devel gmp-devel",
        ),
        (["gmp"], "macos", False, "brew install gmp"),
        (["compiler"], "alpine", True, "apk add build-base"),
        (["python", "venv", "headers"], "arch", False, "sudo pacman -S --needed python"),
    ],
)
def test_one_command_brings_what_is_missing(
    missing: list[str], system: str, is_root: bool, command: str
) -> None:
    assert prerequisites.name_command(missing, system, (3, 12), is_root) == command
    text = prerequisites.describe(missing, system, (3, 12), is_root)
    assert f"  {command}\n" in text + "\n"
    for item in missing:
        assert prerequisites.WHAT_IS_MISSING[item] in text


def test_unknown_system_is_told_what_is_missing() -> None:
    text = prerequisites.describe(["gmp"], None, (3, 12), False)
    assert "gmp.h" in text
    assert "package manager" in text


def test_every_system_names_every_package() -> None:
    assert set(prerequisites.PACKAGES) == set(prerequisites.COMMANDS)
    for packages in prerequisites.PACKAGES.values():
        assert set(packages) == set(prerequisites.WHAT_IS_MISSING)


def test_missing_header_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prerequisites.has_header(prerequisites.find_compiler(), "no-such-header.h") is False
    monkeypatch.setenv("CPPFLAGS", "-nostdinc")
    assert "gmp" in prerequisites.find_missing()


# Commands and CI


@pytest.mark.parametrize(
    "target", ["setup", "testnet", "test", "check", "pytest", "bench", "clean", "help"]
)
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_ci_is_a_sound_script_that_requires_every_program() -> None:
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text()
    (names,) = re.findall(rf"export {require.VARIABLE}=(\S+)", text)
    # Docker is a daemon with rights that CI has not got; the tests that want it say so.
    assert set(names.split(",")) == set(require.PROGRAMS) - {"docker"}
    assert text.rstrip().endswith("make test")


# Rules


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in sources(*PACKAGES, "tests")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_source_files_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in sources(*PACKAGES)
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    ]
    assert long == []


def test_nothing_is_left_for_later() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*sources(*PACKAGES), *(ROOT / "chain" / "contracts").rglob("*.vy*")]
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_tests_do_not_sleep_for_luck() -> None:
    """A fixed sleep outside a loop waits for nothing that can be named."""
    found = []
    for path in sources("tests"):
        tree = ast.parse(path.read_text())
        looped = {
            id(node)
            for loop in ast.walk(tree)
            if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
            for node in ast.walk(loop)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "time.sleep"
                and id(node) not in looped
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
