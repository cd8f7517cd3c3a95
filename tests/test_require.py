"""Skipping for want of a program, and failing where it is required."""

from pathlib import Path

import pytest

from tests import require


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no programs at all, and requires none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(require, "_BESIDE_PATH", {"postgresql": f"{tmp_path}/lib/*/bin"})
    monkeypatch.delenv(require.VARIABLE, raising=False)
    return tmp_path


def install(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.mark.parametrize("name", list(require.PROGRAMS))
def test_missing_program_is_a_skip(empty_path: Path, name: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=rf"{name}: .* is not installed"):
        require.program(name)


@pytest.mark.parametrize("name", list(require.PROGRAMS))
def test_missing_program_that_is_required_is_a_failure(
    empty_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(require.VARIABLE, f"gpu, {name}")
    with pytest.raises(pytest.fail.Exception, match=f"{name} is required by KAISAR_REQUIRE"):
        require.program(name)


@pytest.mark.parametrize("name", list(require.PROGRAMS))
def test_program_that_is_there(empty_path: Path, name: str) -> None:
    install(empty_path / require.PROGRAMS[name][-1])
    assert require.program(name) == str(empty_path / require.PROGRAMS[name][-1])


def test_newest_postgresql_beside_path(empty_path: Path) -> None:
    for version in ("14", "15"):
        install(empty_path / "lib" / version / "bin" / "postgres")
    assert require.program("postgresql") == str(empty_path / "lib/15/bin/postgres")


def test_unknown_name_in_the_variable() -> None:
    with pytest.raises(ValueError, match="found 'anvill', expected some of anvil, bubblewrap"):
        require.required({require.VARIABLE: "anvil,anvill"})


def test_names_are_separated_by_commas() -> None:
    assert require.required({require.VARIABLE: " anvil, gpu,"}) == {"anvil", "gpu"}
    assert require.required({}) == frozenset()
