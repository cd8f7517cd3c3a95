from pathlib import Path

import pytest

from p2p_node.rental.templates import TemplatesError, parse_templates, read_templates


def test_kaisars_templates_come_with_the_node(tmp_path: Path) -> None:
    templates = read_templates(tmp_path)
    assert list(templates) == ["base", "pytorch", "tensorflow", "jupyter", "cuda", "vscode"]
    assert templates["jupyter"].ports == (8888,)
    assert templates["base"].host_program == "sh"
    assert all(template.summary and template.image for template in templates.values())


def test_the_operators_file_replaces_them(tmp_path: Path) -> None:
    (tmp_path / "templates.toml").write_text('[mine]\nimage = "mine:1"\nports = [80]\n')
    (template,) = read_templates(tmp_path).values()
    assert (template.name, template.image, template.ports) == ("mine", "mine:1", (80,))
    assert (template.command, template.host_program) == ((), "")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 templates, expected 1 to 32"),
        ("mine = 1", "expected a table"),
        ("[mine]\nimage = 1", "the name of a container image"),
        ("[mine]", "the name of a container image"),
        ('[mine]\nimage = "--privileged"', "the name of a container image"),
        ('["a b"]\nimage = "x"', "expected letters, digits"),
        ('[mine]\nimage = "x"\nport = 1', "found 'port', expected some of"),
        ('[mine]\nimage = "x"\nports = [0]', "expected 1 to 65535"),
        ('[mine]\nimage = "x"\nports = [true]', "expected 1 to 65535"),
        ('[mine]\nimage = "x"\nports = "80"', "at most 8 numbers"),
        ('[mine]\nimage = "x"\ncommand = [""]', "at most 64 texts"),
        ('[mine]\nimage = "x"\nhost_program = "../sh"', "the name of a program"),
        ('[mine]\nimage = "x"\nsummary = "a\\nb"', "expected a line"),
        ("[mine", "mine.toml: "),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(TemplatesError, match=complaint):
        parse_templates(text.encode(), "mine.toml")


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "templates.toml").write_bytes(b"#" * 70_000)
    with pytest.raises(TemplatesError, match="more than"):
        read_templates(tmp_path)
