"""What is remembered of leases: across restarts, in the order of events, bounded."""

from pathlib import Path

import pytest

from p2p_node.rental import lease_book
from p2p_node.rental.lease_book import LeaseBook, LeaseRow
from p2p_node.storage import Store


async def test_a_lease_is_remembered_from_its_choice_to_its_end(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        book = LeaseBook(store)
        await book.choose(7)
        await book.choose(7)
        await book.choose(8)
        await book.drop(8)
    with Store.open(data_dir) as store:
        book = LeaseBook(store)
        assert await book.rows() == [LeaseRow(7)]
        await book.set_place(7, b"template")
        assert await book.rows() == [LeaseRow(7, b"template")]
        await book.set_wiped(7)
        assert await book.unfinished() == [LeaseRow(7, None, wiped=True)]
        await book.set_settled(7)
    with Store.open(data_dir) as store:
        book = LeaseBook(store)
        assert await book.unfinished() == []
        assert await book.rows() == [LeaseRow(7, None, wiped=True, settled=True)]


async def test_only_finished_leases_are_forgotten(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_book, "KEPT_LEASES", 2)
    with Store.open(data_dir) as store:
        book = LeaseBook(store)
        for lease in range(1, 6):
            await book.choose(lease)
        for lease in (2, 3, 4):
            await book.set_wiped(lease)
            await book.set_settled(lease)
        assert [row.id for row in await book.rows()] == [1, 4, 5]
