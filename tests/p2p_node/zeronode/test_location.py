"""Places of addresses, from real database files."""

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from p2p_node.zeronode.database import Database
from p2p_node.zeronode.location import (
    UNKNOWN,
    Location,
    LocationDatabaseError,
    Locator,
    Place,
    delete_position,
    put_position,
    read_location,
    store_place,
)
from p2p_node.zeronode.refusals import NotFound
from protocols.coarse_places import Position
from protocols.errors import MalformedError
from tests.p2p_node.zeronode.rewards_world import ALICE, BOB, DAY, at, open_accounts

HANOI = {
    "country": {"iso_code": "VN", "names": {"en": "Vietnam"}},
    "subdivisions": [{"iso_code": "HN", "names": {"en": "Hanoi"}}],
    "location": {"latitude": 21.03, "longitude": 105.85, "accuracy_radius": 50},
}


def write(path: Path, rows: dict[str, Any], version: int = 4) -> Path:
    writer = MMDBWriter(ip_version=version, database_type="Test-City", int_type="auto")
    for network, record in rows.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.fixture
def city(tmp_path: Path) -> Path:
    return write(
        tmp_path / "city.mmdb",
        {
            "192.0.2.0/24": HANOI,
            "198.51.100.0/24": {"country": {"iso_code": "DE"}},
            "203.0.113.0/25": {"country": 7, "subdivisions": [], "location": {"latitude": "x"}},
            "203.0.113.128/25": {
                "country": {"iso_code": "A\nB"},
                "subdivisions": ["x"],
                "location": {"latitude": 91.0, "longitude": 1.0, "accuracy_radius": -1},
            },
        },
    )


@pytest.fixture
def asn(tmp_path: Path) -> Path:
    return write(
        tmp_path / "asn.mmdb",
        {
            "192.0.2.0/24": {
                "autonomous_system_number": 64_500,
                "autonomous_system_organization": "Example Net " + "x" * 99,
            },
            "198.51.100.0/24": {"autonomous_system_number": "64500"},
        },
    )


def test_what_the_databases_say(city: Path, asn: Path) -> None:
    locator = Locator.open(city, asn)
    found = locator.locate("192.0.2.7")
    assert found == Place(
        "VN", "Hanoi", ("Example Net " + "x" * 99)[:64], 64_500, Position(210, 1_058), 50
    )
    assert locator.locate("::ffff:192.0.2.7") == found
    assert locator.locate("198.51.100.1") == Place("DE")
    for odd in ("203.0.113.1", "203.0.113.200", "10.0.0.1", "2001:db8::1"):
        assert locator.locate(odd) == Place()
    with pytest.raises(MalformedError):
        locator.locate("nowhere")
    locator.close()


def test_without_databases_everything_is_unknown() -> None:
    locator = Locator.open()
    assert locator.locate("192.0.2.7") == Place(UNKNOWN, UNKNOWN, UNKNOWN, None, None, 0)
    locator.close()


@pytest.mark.parametrize("content", [None, b"", b"not a database"])
def test_a_file_that_is_no_database_names_its_setting(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "x.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocationDatabaseError, match=f"asn_database: found {path}, expected"):
        Locator.open(asn=path)


def test_a_damaged_database_knows_nothing_and_names_no_address(
    city: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytearray(city.read_bytes())
    tree_end = content.index(bytes(16))
    marker = content.rindex(b"\xab\xcd\xefMaxMind.com")
    content[tree_end + 16 : marker] = b"\xff" * (marker - tree_end - 16)
    city.write_bytes(content)
    locator = Locator.open(city)
    assert locator.locate("192.0.2.7") == Place()
    assert "damaged" in caplog.text
    assert "192.0.2" not in caplog.text
    locator.close()


def test_what_is_stored_of_an_account(database: Database) -> None:
    hanoi = Place("VN", "Hanoi", "Example Net", 64_500, Position(210, 1_058), 50)
    berlin, saigon = Position(525, 134), Position(108, 1_067)
    with database.transaction() as connection:
        open_accounts(connection, ALICE)
        assert read_location(connection, ALICE) == Location()
        with pytest.raises(NotFound):
            put_position(connection, BOB, berlin, at(DAY))
        put_position(connection, ALICE, berlin, at(DAY))
        assert read_location(connection, ALICE) == Location(coarse=berlin)
        store_place(connection, ALICE, hanoi, at(DAY))
        expected = Location("VN", "Hanoi", "Example Net", berlin, True)
        assert read_location(connection, ALICE) == expected
        put_position(connection, ALICE, saigon, at(DAY))
        assert read_location(connection, ALICE).mismatch is False
        store_place(connection, ALICE, Place("VN"), at(DAY))
        assert read_location(connection, ALICE).mismatch is None
        delete_position(connection, ALICE, at(DAY))
        delete_position(connection, BOB, at(DAY))
        assert read_location(connection, ALICE) == Location("VN")
