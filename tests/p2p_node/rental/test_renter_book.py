"""A renter's leases on disk: keys first, nothing lost, nothing shown."""

import json
import stat
from pathlib import Path

import pytest

from p2p_node.rental.renter_book import LeaseBook, LeaseBookError, LeaseNote
from p2p_node.secret_files import SecretFileError
from protocols.types import NetworkId, NodeKey

NETWORK = NetworkId(b"\x01" * 32)
PROVIDER_KEY = NodeKey(b"\x02" * 32)


def make(book: LeaseBook, now: int = 1000) -> LeaseNote:
    return book.make(
        provider=3,
        provider_key=PROVIDER_KEY,
        seconds=600,
        price=7,
        minimum=60,
        template="base",
        now=now,
    )


def test_a_lease_is_made_and_found_again(data_dir: Path) -> None:
    book = LeaseBook(data_dir, NETWORK)
    assert book.notes() == []

    second, first = make(book, 2000), make(book, 1000)

    assert book.notes() == [first, second]
    assert (first.id, first.failed, first.provider, first.seconds) == (None, None, 3, 600)
    assert first.key != second.key
    assert bytes(book.read_key(first).verify_key) == first.public_key


def test_keys_are_for_their_owner_only(data_dir: Path) -> None:
    book = LeaseBook(data_dir, NETWORK)
    note = make(book)
    path = data_dir / "leases" / note.name / "lease.key"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((data_dir / "leases").stat().st_mode) == 0o700
    key = path.read_text().strip()
    assert key not in repr(book.read_key(note)) + repr(note) + str(book.read_key(note))
    assert key not in (path.parent / "lease.json").read_text()
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match="lets others in"):
        book.read_key(note)


def test_what_becomes_of_an_opening_is_noted(data_dir: Path) -> None:
    book = LeaseBook(data_dir, NETWORK)
    note = make(book)

    failed = book.set_failed(note, "price differs")
    assert book.notes() == [failed]
    assert failed.failed == "price differs"
    found = book.set_id(failed, 17)
    assert book.notes() == [found]
    assert (found.id, found.failed) == (17, None)


def test_leases_of_another_network_are_not_shown(data_dir: Path) -> None:
    make(LeaseBook(data_dir, NETWORK))

    assert LeaseBook(data_dir, NetworkId(b"\x09" * 32)).notes() == []


def test_a_key_without_a_note_was_not_paid_for(data_dir: Path) -> None:
    book = LeaseBook(data_dir, NETWORK)
    note = make(book)
    (data_dir / "leases" / note.name / "lease.json").unlink()

    assert book.notes() == []


@pytest.mark.parametrize(
    "change",
    [{"seconds": "600"}, {"more": 1}, {"key": "00" * 32}, {"key": "x"}, {"provider_key": "00"}],
)
def test_a_broken_note_is_named(data_dir: Path, change: dict[str, object]) -> None:
    book = LeaseBook(data_dir, NETWORK)
    path = data_dir / "leases" / make(book).name / "lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(LeaseBookError, match="expected the note of a lease"):
        book.notes()


def test_a_note_that_is_no_json(data_dir: Path) -> None:
    book = LeaseBook(data_dir, NETWORK)
    (data_dir / "leases" / make(book).name / "lease.json").write_text("{")

    with pytest.raises(LeaseBookError, match="expected the note of a lease"):
        book.notes()


def test_a_broken_key_is_named_and_not_shown(data_dir: Path) -> None:
    book = LeaseBook(data_dir, NETWORK)
    note = make(book)
    path = data_dir / "leases" / note.name / "lease.key"
    path.write_text("abc")
    with pytest.raises(LeaseBookError, match="found 3 bytes that are no key"):
        book.read_key(note)
    path.write_text("11" * 32)
    with pytest.raises(LeaseBookError, match=r"not the key in lease\.json") as caught:
        book.read_key(note)
    assert "11" * 32 not in str(caught.value)
