"""Frames of ``boxherd connect``, see ``docs/connect.md``: pure functions of bytes.

Four bytes say, big-endian, how long the header is; then the header, a JSON object; then as many raw
bytes as its field ``body`` says.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_BODY = 1 << 20
"""The most raw bytes of one frame."""

_MAX_HEADER = 64 << 20


class Frame(NamedTuple):
    """A header and its raw bytes."""

    header: dict[str, Any]
    body: bytes


class BrokenFrame(OSError):
    """What arrived is no frame."""


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a body of {len(body)} bytes, at most {MAX_BODY} are allowed")
    fields = {**header, "body": len(body)} if body else header
    text = json.dumps(fields, separators=(",", ":")).encode()
    return b"".join((struct.pack(">I", len(text)), text, body))


def decode(read: Callable[[int], bytes]) -> Frame | None:
    """The next frame, where ``read(n)`` gives ``n`` bytes, or fewer at the end. ``None`` at the end."""
    prefix = read(4)
    if not prefix:
        return None
    if len(prefix) < 4:
        raise BrokenFrame("the answers of boxherd end in the middle of a frame")
    (length,) = struct.unpack(">I", prefix)
    if length > _MAX_HEADER:
        raise BrokenFrame(f"boxherd sent a header of {length} bytes")
    try:
        header = json.loads(_exactly(read, length))
    except ValueError as error:
        raise BrokenFrame("boxherd sent a header that is no JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrame("boxherd sent a header that is no JSON object")
    return Frame(header, _exactly(read, header.pop("body", 0)))


def _exactly(read: Callable[[int], bytes], length: int) -> bytes:
    data = read(length) if length else b""
    if len(data) != length:
        raise BrokenFrame("the answers of boxherd end in the middle of a frame")
    return data
