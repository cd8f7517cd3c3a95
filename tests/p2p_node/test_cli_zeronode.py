"""`kaisar zeronode`: every action is found, and explains itself."""

import argparse
import pkgutil

import pytest

import p2p_node.cli
from p2p_node.cli import main
from p2p_node.cli.zeronode import PREFIX, add_parser


def find_actions() -> list[str]:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    (commands,) = (each for each in parser._actions if isinstance(each.choices, dict))
    own = commands.choices["zeronode"]
    (actions,) = (each for each in own._actions if isinstance(each.choices, dict))
    return list(actions.choices)


def test_every_module_brings_an_action() -> None:
    modules = [
        each.name
        for each in pkgutil.iter_modules(p2p_node.cli.__path__)
        if each.name.startswith(PREFIX)
    ]
    assert len(find_actions()) == len(modules)


@pytest.mark.parametrize("action", find_actions())
def test_every_action_explains_itself(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zeronode", action, "--help"]) == 0
    assert f"usage: kaisar zeronode {action}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["zeronode"], ["zeronode", "nonsense"]])
def test_unusable_action(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: kaisar zeronode" in capsys.readouterr().err
