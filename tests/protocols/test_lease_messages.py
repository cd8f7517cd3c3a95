"""What a renter and a provider say to each other: strings of a command, and the page's tables.

Bodies of the messages are tested with all others in test_messages.py.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.lease_messages import (
    ACCESS_DISPARITY_MS,
    LEASE_PROTOCOL,
    MAX_PATH_BYTES,
    MAX_STRINGS,
    MAX_STRINGS_BYTES,
    REQUESTS,
    FetchRequest,
    LeaseAnswerCode,
    LeasePurpose,
    RunRequest,
    UploadRequest,
    join_strings,
    split_strings,
)
from protocols.wire import Message
from tests.protocols.test_spec import read, rows, section

strings = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"0"))


@given(st.lists(strings, max_size=50))
def test_strings_come_back_as_they_were(values: list[bytes]) -> None:
    assert split_strings(join_strings(values)) == tuple(values)


@given(st.binary(max_size=200))
def test_any_bytes_are_strings_or_malformed(data: bytes) -> None:
    try:
        values = split_strings(data)
    except MalformedError:
        return

    assert join_strings(values) == data


@pytest.mark.parametrize("data", [b"x", b"a\0b", b"\0b"])
def test_the_last_string_ends_too(data: bytes) -> None:
    with pytest.raises(MalformedError, match="bad strings: the last one does not end"):
        split_strings(data)


def test_as_many_strings_as_may_be() -> None:
    many = (b"",) * MAX_STRINGS
    long = (b"x" * (MAX_STRINGS_BYTES - 1),)

    assert split_strings(join_strings(many)) == many
    assert split_strings(join_strings(long)) == long


def test_too_many_strings_are_malformed() -> None:
    with pytest.raises(MalformedError, match="bad strings: 1025"):
        split_strings(bytes(MAX_STRINGS + 1))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ((b"a\0b",), "NUL"),
        ((b"",) * (MAX_STRINGS + 1), "found 1025 arguments"),
        ((b"x" * MAX_STRINGS_BYTES,), "131073 bytes together"),
    ],
)
def test_strings_that_would_be_refused_are_not_sent(
    values: tuple[bytes, ...], problem: str
) -> None:
    with pytest.raises(LocalError, match=problem):
        join_strings(values)


@pytest.mark.parametrize(
    "message",
    [
        RunRequest(
            argv=bytes(MAX_STRINGS_BYTES),
            environment=bytes(MAX_STRINGS_BYTES),
            directory=bytes(MAX_PATH_BYTES),
            rows=65_535,
            columns=65_535,
            detached=1,
        ),
        UploadRequest(path=bytes(MAX_PATH_BYTES), files=2**32 - 1, size=2**64 - 1),
        FetchRequest(path=bytes(MAX_PATH_BYTES)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_largest_fit_their_caps(message: Message) -> None:
    assert type(message).decode(message.encode()) == message


def test_every_purpose_has_its_request() -> None:
    table = rows(section(read("leases.md"), "### Purposes"))

    assert [(int(cells[0]), cells[1], cells[2]) for cells in table] == [
        (purpose.value, purpose.name, REQUESTS[purpose].__name__) for purpose in LeasePurpose
    ]


def test_codes_are_those_of_the_page() -> None:
    table = rows(section(read("leases.md"), "### Codes"))

    assert [(int(cells[0]), cells[1]) for cells in table] == [
        (code.value, code.name) for code in LeaseAnswerCode
    ]


def test_an_access_is_refused_with_a_code() -> None:
    text = section(read("leases.md"), "### Access")

    assert {cells[1] for cells in rows(text)} < {code.name for code in LeaseAnswerCode}
    assert text.count(f"{ACCESS_DISPARITY_MS:,} ms") == 2
    assert f"a stream `{LEASE_PROTOCOL}`" in read("leases.md")


def test_numbers_of_the_page() -> None:
    text = section(read("leases.md"), "### RunRequest")

    assert f"at most {MAX_STRINGS:,} |" in text
