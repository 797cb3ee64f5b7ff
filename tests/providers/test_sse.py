"""Server-sent events, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.providers.serving_events import event
from treadle.providers.sse import EventReader


def read(stream: bytes, *cuts: int) -> list[str]:
    reader, found = EventReader(), list[str]()
    places = [0, *sorted(cuts), len(stream)]
    for start, end in itertools.pairwise(places):
        found.extend(reader.feed(stream[start:end]))
    return found


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_end_of_line_is_one(end: bytes) -> None:
    lines = [b"event: x", b"data: a", b"data:b", b": comment", b"id: 3", b"", b"data: c", b"", b"data: d"]
    assert read(end.join(lines) + end) == ["a\nb", "c"]


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line() -> None:
    assert read(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", 1, 2) == ["a", "b"]


def test_a_line_that_ends_with_a_piece_is_whole_with_the_next_piece() -> None:
    assert read(b"data: a\r\rdata: b\r\rx", 8, 9, 17, 18) == ["a", "b"]


def test_a_line_of_many_pieces_is_whole_at_its_end() -> None:
    assert read(b"data: " + b"x" * 1000 + b"\n\n", *range(1, 1000)) == ["x" * 1000]


@given(st.lists(st.text(min_size=1), max_size=5), st.lists(st.integers(0, 200), max_size=6))
def test_wherever_it_is_cut_the_same_events_come(texts: list[str], cuts: list[int]) -> None:
    stream = b"".join(event({"t": text}, name="e").encode() for text in texts)
    whole = read(stream)
    assert len(whole) == len(texts)
    assert read(stream, *(cut for cut in cuts if cut <= len(stream))) == whole


@given(st.binary(max_size=200))
def test_rubbish_is_read_or_refused_as_no_text(stream: bytes) -> None:
    try:
        found = read(stream)
    except UnicodeDecodeError:
        return
    assert all(isinstance(data, str) for data in found)
