"""`kaisar rent status`: what a provider says of a place is somebody else's text."""

import json

import pytest

from p2p_node.cli.rent_status import _format_place


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"disk_bytes": 1500000}', "disk  1.5 MB"),
        ('{"disk_bytes": 1%s}' % ("0" * 400), ""),
        ('{"disk_bytes": -1%s}' % ("0" * 400), ""),
        ('{"load": 1e999}', "load  inf"),
        ('{"ports": [8888, [["x"]], "a\\u001b[2J"]}', "ports  8888 a [2J"),
        ('{"\\u001b]0;": "b\\u0007"}', "]0;  b"),
    ],
)
def test_a_lying_provider_breaks_and_steers_nothing(said: str, shown: str) -> None:
    _, _, *lines = _format_place(json.loads(said))
    assert "\n".join(lines).strip() == shown
    assert "\x1b" not in "".join(lines)
