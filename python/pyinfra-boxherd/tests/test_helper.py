"""The protocol of `boxherd connect`, and what it does with a client that does not keep to it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from conftest import Place
from pyinfra_boxherd import frames
from pyinfra_boxherd.helper import BoxherdError, Helper


@pytest.fixture
def served() -> Iterator[Helper]:
    found = Helper()
    yield found
    found.close()


def run(served: Helper, box: str, line: str, **fields: object) -> tuple[bytes, dict[str, object]]:
    with served.call("exec", box=box, shell=line, **fields) as call:
        output = b""
        for frame in call:
            output += frame.body
            if frame.header["event"] == "exit":
                call.finish()
                return output, frame.header
    raise AssertionError


def test_a_client_that_takes_no_output_holds_up_nobody(served: Helper, local_box: Place) -> None:
    floods = [served.call("exec", box=local_box.address, shell="yes") for _ in range(5)]
    # All of them stand still with a window on its way.
    gevent.sleep(1)
    assert all(sum(len(frame.body) for frame in flood._frames.queue) <= served.window for flood in floods)
    status = Path(f"/proc/{served._process.pid}/status").read_text()
    [memory] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    assert memory < 100 << 10, f"{memory} KiB"
    begun = time.monotonic()
    assert run(served, local_box.address, "echo hi")[0] == b"hi\n"
    assert time.monotonic() - begun < 1
    for flood in floods:
        with flood:
            pass
    assert run(served, local_box.address, "echo hi")[0] == b"hi\n"


def test_input_that_is_not_read_holds_up_nobody(served: Helper, local_box: Place) -> None:
    with served.call("exec", box=local_box.address, shell="sleep 60", stdin=True) as call:
        feeder = gevent.spawn(call.data, b"x" * (8 << 20))
        gevent.sleep(0.5)
        assert not feeder.ready()
        assert run(served, local_box.address, "echo hi")[0] == b"hi\n"
        served.send({"id": call._number, "op": "signal", "signal": signal.SIGTERM})
        assert call.next().header["event"] == "started"
        assert call.next().header["signal"] == signal.SIGTERM
        call.finish()
        feeder.get(timeout=5)


def test_what_a_command_is_given(served: Helper, local_box: Place) -> None:
    box = local_box.address
    output, _ = run(served, box, "echo $A; pwd; id -u", env={"A": "b"}, cwd="/tmp", user="nobody")
    assert output == b"b\n/tmp\n65534\n"
    assert run(served, box, "sleep 60", timeout_ms=300)[1]["timed_out"] is True
    assert run(served, box, "stty size", pty={"rows": 7, "cols": 70})[0].split() == [b"7", b"70"]
    with served.call("exec", box=box, argv=["printf", "%s", "a b"]) as call:
        assert [call.next().body for _ in range(2)][1] == b"a b"


def test_owner_mode_and_folders(served: Helper, local_box: Place) -> None:
    box, path = local_box.address, "/srv/deep/er/f"
    with pytest.raises(FileNotFoundError), served.call("put", box=box, path=path) as call:
        call.end()
        call.next()
    with served.call(
        "put", box=box, path=path, mode=0o640, uid=1, gid=2, parents=True
    ) as call:
        call.data(b"x" * (3 << 20))
        call.end()
        assert call.next().header["size"] == 3 << 20
        call.finish()
    assert run(served, box, f"stat -c '%a %u %g %s' {path}")[0] == b"640 1 2 3145728\n"


def test_half_an_upload_is_none(served: Helper, local_box: Place) -> None:
    with served.call("put", box=local_box.address, path="/srv/half") as call:
        call.data(b"x" * 100_000)
    assert run(served, local_box.address, "ls -A /srv | grep half || echo none")[0] == b"none\n"


@pytest.mark.parametrize(
    ("op", "fields", "code"),
    [
        ("fly", {}, "unknown-op"),
        ("hello", {"protocol": 99}, "protocol"),
        ("list", {"engine": "nowhere"}, "no-such-engine"),
        ("open", {"box": "no-such-box"}, "no-such-box"),
        ("open", {"box": "not a name"}, "invalid"),
        ("exec", {"box": "no-such-box", "shell": "true"}, "no-such-box"),
        ("exec", {"box": "x"}, "invalid"),
        ("exec", {"box": "x", "shell": "true", "colour": "red"}, "invalid"),
        ("get", {"box": "x", "path": "relative"}, "invalid"),
        ("put", {"box": "x", "path": "/x", "uid": 1}, "invalid"),
    ],
)
def test_refusals_have_codes(served: Helper, op: str, fields: dict[str, object], code: str) -> None:
    with pytest.raises(BoxherdError) as refused:
        served.ask(op, **fields)
    assert refused.value.code == code
    assert served.ask("engines")["engines"][0] == {"name": "local", "kind": "local"}


def test_data_without_credit_ends_that_request_only(served: Helper, local_box: Place) -> None:
    with served.call("exec", box=local_box.address, shell="sleep 60", stdin=True) as call:
        for _ in range(3):
            served.send({"id": call._number, "op": "data"}, b"x" * frames.MAX_BODY)
        with pytest.raises(BoxherdError) as refused:
            while True:
                call.next()
        assert refused.value.code == "window"
    assert run(served, local_box.address, "echo hi")[0] == b"hi\n"


def raw(sent: bytes) -> tuple[int, list[dict[str, object]], bytes]:
    done = subprocess.run(
        [os.environ["BOXHERD_BIN"], "connect", "--stdio"], input=sent, capture_output=True, timeout=20
    )
    answers, rest = [], done.stdout
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        answers.append(json.loads(rest[4 : 4 + length]))
        rest = rest[4 + length + answers[-1].get("body", 0) :]
    return done.returncode, answers, done.stderr


HELLO = frames.encode({"id": 1, "op": "hello", "protocol": 1})


@pytest.mark.parametrize(
    "noise",
    [b"\xff" * 8, b"\0\0\0\2[]", b"\0\0\0\4{{{{", frames.encode({"op": "engines"}), HELLO],
)
def test_noise_ends_it_with_a_reason(noise: bytes) -> None:
    code, answers, said = raw(HELLO + noise)
    assert code == 1 and said.startswith(b"error: ")
    assert answers[-1]["id"] == 0 and answers[-1]["error"]["code"] == "protocol"


def test_the_end_of_input_is_the_end() -> None:
    # What was not answered by then is not answered any more, and is no error.
    assert raw(HELLO)[::2] == (0, b"")
    assert raw(b"") == (0, [], b"")
