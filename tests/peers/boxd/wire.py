"""Messages by hand, from our own `boxd.proto`: what no library would send, of every call and every field,
those of ours and those that the SDK no longer has among them.

`BOXHERD_PID` is the process of the server.
"""

import os
import pathlib
import re
import struct

from apart import BOX_FIELDS, SENSE

TEXT = (pathlib.Path(__file__).parents[3] / "proto/boxd.proto").read_text()
BODIES = dict(re.findall(r"^message (\w+) \{(.*?)^\}", TEXT, re.S | re.M))
FIELD = re.compile(r"^\s+(repeated |optional )?(map<string, string>|\w+) (\w+) = (\d+)", re.M)
# The name of each call and of what it is asked.
CALLS = dict(re.findall(r"rpc (\w+)\((?:stream )?(\w+)\)", TEXT))
MANY = 3000
DEEPEST = 4
NOT_TEXT = b"a\xff\xfe\x80"
TEXTS = [b"", b"x" * (1 << 20), b"a\0b", b"a\r\nb\x1b[2J\x7f", b"../../etc/passwd", b"-rf",
         "\u202e\U0001f4a9".encode(), b"a b'\"$(id)"]
# Also of fields without a sign: -1, and what does not fit into 32 bits.
NUMBERS = [2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [float("nan"), float("inf"), float("-inf"), -1.0]


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def piece(number, data):
    """A field that has a length: text, bytes, a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def whole(number, value):
    return varint(number << 3) + varint(value)


def fields(message):
    if message == "map<string, string>":
        return [("", "string", "key", 1), ("", "string", "value", 2)]
    return [(label, kind, name, int(number))
            for label, kind, name, number in FIELD.findall(BODIES[message])]


def is_message(kind):
    return kind in BODIES or kind.startswith("map<")


def not_text(message, depth=DEEPEST):
    """Each text in the message in turn, as bytes that are none; and each message, as what is none."""
    for _, kind, name, number in fields(message):
        if kind == "string":
            yield name, piece(number, NOT_TEXT)
        elif is_message(kind) and depth:
            yield name, piece(number, b"\xff\xff")
            for inner, data in not_text(kind, depth - 1):
                yield f"{name}.{inner}", piece(number, data)


def nonsense(message, depth=DEEPEST):
    """Each field in turn, at any depth, with what nobody means."""
    for label, kind, name, number in fields(message):
        if kind in ("string", "bytes"):
            made = [piece(number, text) for text in TEXTS]
        elif is_message(kind):
            inner = list(nonsense(kind, depth - 1)) if depth else []
            made = [piece(number, b"")]
            yield from ((f"{name}.{where}", piece(number, data)) for where, data in inner)
        elif kind == "double":
            made = [varint(number << 3 | 1) + struct.pack("<d", value) for value in FLOATS]
        else:
            made = [whole(number, value) for value in NUMBERS]
        if label == "repeated " or kind.startswith("map<"):
            made.append(b"".join(piece(number, one(kind, index)) for index in range(MANY)))
        yield from ((name, data) for data in made)


def one(kind, index):
    """One of many elements, no two of which are the same."""
    text = f"x{index}".encode()
    if not is_message(kind):
        return text
    first = next(number for _, inner, _, number in fields(kind) if inner == "string")
    return piece(first, text)


def sensible(call, box, **instead):
    """What the call can be asked of the box, so that nonsense put after it is all that is wrong."""
    out = b""
    for label, kind, name, number in fields(CALLS[call]):
        value = box if name in BOX_FIELDS else instead.get(name, SENSE.get(name))
        if value is None or label == "repeated " or is_message(kind):
            continue
        if kind in ("string", "bytes"):
            out += piece(number, value if isinstance(value, bytes) else str(value).encode())
        else:
            out += whole(number, int(value))
    return out


def memory():
    """Of the server, in KiB."""
    status = pathlib.Path(f"/proc/{os.environ['BOXHERD_PID']}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def descriptors():
    return len(os.listdir(f"/proc/{os.environ['BOXHERD_PID']}/fd"))
