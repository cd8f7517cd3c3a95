"""Frames of a lease's streams: vectors, round trips, and what no honest side sends."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, MalformedError
from protocols.lease_frames import (
    MAX_DATA_BYTES,
    MAX_FRAME_BYTES,
    MAX_MODE,
    MAX_TEXT_BYTES,
    FrameKind,
    clean_text,
    decode_check,
    decode_exit,
    decode_file,
    decode_frame,
    decode_have,
    decode_resize,
    decode_resume,
    decode_signal,
    decode_text,
    decode_tree,
    encode_check,
    encode_exit,
    encode_file,
    encode_frame,
    encode_have,
    encode_resize,
    encode_resume,
    encode_signal,
    encode_text,
    encode_tree,
    require_empty,
)
from protocols.lease_messages import MAX_PATH_BYTES
from tests.protocols.test_spec import read, rows, section
from tests.vectors.generate import load

VECTORS = load("leases/frames.json")

Case = dict[str, Any]

paths = st.binary(min_size=1, max_size=50).filter(lambda path: b"\0" not in path)


def parse(frame: bytes) -> Any:
    """Read a frame whatever it is."""
    kind, payload = decode_frame(frame)
    return READERS[kind](payload)


READERS: dict[FrameKind, Callable[[memoryview], Any]] = {
    FrameKind.DATA: bytes,
    FrameKind.ERRORS: bytes,
    FrameKind.END: require_empty,
    FrameKind.TEXT: decode_text,
    FrameKind.RESIZE: decode_resize,
    FrameKind.SIGNAL: decode_signal,
    FrameKind.EXIT: decode_exit,
    FrameKind.FILE: decode_file,
    FrameKind.CHECK: decode_check,
    FrameKind.RESUME: decode_resume,
    FrameKind.DONE: require_empty,
    FrameKind.FAILURE: decode_text,
    FrameKind.TREE: decode_tree,
    FrameKind.HAVE: decode_have,
    FrameKind.LEAVE: require_empty,
}


def write(kind: FrameKind, value: Any) -> bytes:
    """Make the frame that `parse` reads so."""
    match kind:
        case FrameKind.DATA | FrameKind.ERRORS:
            return encode_frame(kind, value)
        case FrameKind.END | FrameKind.DONE | FrameKind.LEAVE:
            return encode_frame(kind)
        case FrameKind.TEXT | FrameKind.FAILURE:
            return encode_text(kind, value)
        case FrameKind.RESIZE:
            return encode_resize(*value)
        case FrameKind.FILE:
            return encode_file(*value)
        case FrameKind.SIGNAL:
            return encode_signal(value)
        case FrameKind.EXIT:
            return encode_exit(value)
        case FrameKind.CHECK:
            return encode_check(value)
        case FrameKind.RESUME:
            return encode_resume(value)
        case FrameKind.TREE:
            return encode_tree(*value)
        case FrameKind.HAVE:
            return encode_have(*value)


def value_of(case: Case) -> Any:
    """What a vector's frame says, as its reader returns it."""
    fields = {name: value for name, value in case.items() if name not in ("name", "frame")}
    for name in ("payload", "digest", "path"):
        if name in fields:
            fields[name] = bytes.fromhex(fields[name])
    for name in ("size", "offset"):
        if name in fields:
            fields[name] = int(fields[name])
    values = tuple(fields.values())
    return values if len(values) > 1 else values[0] if values else None


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["name"])
def test_vector(case: Case) -> None:
    frame = bytes.fromhex(case["frame"])

    assert parse(frame) == value_of(case)
    assert write(decode_frame(frame)[0], value_of(case)) == frame


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_invalid_vector_is_refused(case: Case) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(bytes.fromhex(case["frame"]))

    assert caught.value.reason == case["reason"]


def test_every_kind_has_a_vector() -> None:
    shown = {bytes.fromhex(case["frame"])[0] for case in VECTORS["valid"]}

    assert shown == set(FrameKind)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_frame_or_malformed(data: bytes) -> None:
    try:
        value = parse(data)
    except MalformedError:
        return

    assert write(FrameKind(data[0]), value) == data


@given(
    st.integers(0, 65_535),
    st.integers(0, 65_535),
    st.integers(0, 255),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, (1 << 64) - 1),
)
def test_numbers_come_back(rows: int, columns: int, signal: int, status: int, offset: int) -> None:
    assert parse(encode_resize(rows, columns)) == (rows, columns)
    assert parse(encode_signal(signal)) == signal
    assert parse(encode_exit(status)) == status
    assert parse(encode_resume(offset)) == offset


@given(st.integers(0, MAX_MODE), st.integers(0, (1 << 64) - 1), paths)
def test_files_come_back(mode: int, size: int, path: bytes) -> None:
    assert parse(encode_file(mode, size, path)) == (mode, size, path)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_come_back(text: str) -> None:
    assert parse(encode_text(FrameKind.TEXT, text)) == clean_text(text)


@pytest.mark.parametrize("letter", ["a", "ä", "€", "🙂"])
def test_a_text_that_is_too_long_is_cut_between_letters(letter: str) -> None:
    text = parse(encode_text(FrameKind.FAILURE, "x" + letter * MAX_TEXT_BYTES))

    assert set(text) == {"x", letter}
    assert MAX_TEXT_BYTES - 4 < len(text.encode()) <= MAX_TEXT_BYTES


def test_a_text_may_hold_what_is_no_unicode() -> None:
    """File names are bytes; Python keeps them as lone surrogates."""
    assert (
        parse(encode_text(FrameKind.TEXT, b"caf\xe9".decode("utf-8", "surrogateescape"))) == "caf?"
    )


def test_text_steers_no_terminal() -> None:
    escape = "a\x1b]0;title\x07b\n\u202ec\x9b2J"
    frame = encode_text(FrameKind.FAILURE, escape)
    assert decode_text(decode_frame(frame)[1]) == "a ]0;title b  c 2J"


def test_frames_have_a_limit() -> None:
    largest = encode_frame(FrameKind.DATA, bytes(MAX_DATA_BYTES))

    assert len(largest) == MAX_FRAME_BYTES
    assert len(parse(largest)) == MAX_DATA_BYTES
    with pytest.raises(LocalError, match="at most 524288"):
        encode_frame(FrameKind.DATA, bytes(MAX_DATA_BYTES + 1))
    with pytest.raises(MalformedError, match="frame too long"):
        decode_frame(largest + b"x")
    with pytest.raises(MalformedError, match="text of 65537 bytes"):
        decode_text(memoryview(bytes(MAX_TEXT_BYTES + 1)))


def test_data_is_not_copied_when_it_is_read() -> None:
    data = encode_frame(FrameKind.DATA, b"content")

    _, payload = decode_frame(data)

    assert payload.obj is data


@pytest.mark.parametrize(
    ("encode", "arguments"),
    [
        (encode_resize, (65_536, 0)),
        (encode_resize, (0, -1)),
        (encode_signal, (256,)),
        (encode_exit, (1 << 31,)),
        (encode_resume, (-1,)),
        (encode_check, (bytes(31),)),
        (encode_have, (0, bytes(31))),
        (encode_have, (-1, bytes(32))),
        (encode_tree, (1 << 32, 0, 0)),
        (encode_file, (0o1777, 0, b"a")),
        (encode_file, (-1, 0, b"a")),
        (encode_file, (0o644, 1 << 64, b"a")),
        (encode_file, (0o644, 0, b"")),
        (encode_file, (0o644, 0, b"x" * (MAX_PATH_BYTES + 1))),
        (encode_file, (0o644, 0, b"a\0b")),
    ],
)
def test_what_does_not_fit_is_not_sent(
    encode: Callable[..., bytes], arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(LocalError):
        encode(*arguments)


def test_kinds_are_those_of_the_page() -> None:
    text = section(read("leases.md"), "### Frames")

    assert [(int(cells[0]), cells[1]) for cells in rows(text)] == [
        (kind.value, kind.name) for kind in FrameKind
    ]
    assert f"at most {MAX_DATA_BYTES:,} bytes" in text
    assert text.count(f"at most {MAX_TEXT_BYTES:,} bytes") == 2
    assert f"at most 0{MAX_MODE:o} octal) " in text
    assert f"path (1 to {MAX_PATH_BYTES:,} bytes" in text
