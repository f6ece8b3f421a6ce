"""Frames and lines, without a box."""

from __future__ import annotations

import io
import random

import pytest
from pyinfra_boxherd import frames
from pyinfra_boxherd.lines import Lines


def test_frames_arrive_as_they_were_sent() -> None:
    sent = [({"id": n, "op": "data", "text": "ü" * n}, random.randbytes(n * 100)) for n in range(5)]
    pipe = io.BytesIO(b"".join(frames.encode(header, body) for header, body in sent))
    for header, body in sent:
        assert frames.decode(pipe.read) == (header, body)
    assert frames.decode(pipe.read) is None


@pytest.mark.parametrize("cut", [1, 3, 4, 9, 20])
def test_a_frame_that_is_cut_off_is_no_end(cut: int) -> None:
    whole = frames.encode({"id": 1}, b"0123456789")
    with pytest.raises(frames.BrokenFrame):
        frames.decode(io.BytesIO(whole[:cut]).read)


@pytest.mark.parametrize("noise", [b"\xff" * 8, b"\0\0\0\2[]", b"\0\0\0\2{,", b"\0\0\0\0"])
def test_noise_is_no_frame(noise: bytes) -> None:
    with pytest.raises(frames.BrokenFrame):
        frames.decode(io.BytesIO(noise).read)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_do_not_depend_on_pieces(size: int) -> None:
    text = "one\n\ntwo\x0cstill\u2028two\r\n" + "ü" * 50 + "\nlast"
    data, lines, found = text.encode(), Lines(), []
    for start in range(0, len(data), size):
        found += lines.feed(data[start : start + size])
    assert found + lines.end() == text.split("\n")


def test_a_terminal_ends_lines_with_both() -> None:
    lines = Lines(terminal=True)
    assert lines.feed(b"a\r\nb\r") == ["a"]
    assert lines.feed(b"\nc") == ["b"]
    assert lines.end() == ["c"]


def test_bytes_that_are_no_text_lose_nobody_the_rest() -> None:
    lines = Lines()
    assert lines.feed(b"a\xff\xfeb\nc\n") == ["a\ufffd\ufffdb", "c"]
    assert lines.end() == []
