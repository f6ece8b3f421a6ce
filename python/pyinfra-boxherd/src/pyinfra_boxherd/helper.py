"""The one ``boxherd connect --stdio`` of a run, shared by every host.

A greenlet writes frames and a greenlet reads them; each request is a :class:`Call`, which any greenlet
may wait for while others go on.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from gevent.lock import RLock
from gevent.queue import Queue
from gevent.subprocess import PIPE, Popen, TimeoutExpired

from . import frames
from .frames import Frame

PROTOCOL = 1
_LEAVE = 10.0
"""How long a helper may take to end, in seconds."""


class BoxherdError(OSError):
    """What ``boxherd`` refused, as pyinfra catches it: ``code`` is stable, ``hint`` says what to do."""

    def __init__(self, message: str, code: str = "internal", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Call:
    """A request that runs: an iterator of its frames. Left before its end, it is cancelled."""

    def __init__(self, helper: Helper, number: int) -> None:
        self._helper = helper
        self._number = number
        self._frames: Queue[Frame | OSError] = Queue()
        self._room = helper.window
        self._has_room = Event()
        self._ended = False

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            self._end()
            self._helper.send({"id": self._number, "op": "cancel"})

    def __iter__(self) -> Iterator[Frame]:
        while True:
            yield self.next()

    def next(self) -> Frame:
        """The next frame; raises what the request failed with."""
        found: Frame | OSError = self._frames.get()
        if isinstance(found, OSError):
            self._end()
            raise found
        # Used as soon as it is taken: what the caller makes of it is the caller's memory.
        if found.body:
            self._helper.send({"id": self._number, "op": "credit", "bytes": len(found.body)})
        return found

    def finish(self) -> None:
        """Nothing more will come: the last frame said so."""
        self._end()

    def data(self, body: bytes) -> bool:
        """Sends input as fast as it is used; ``False`` once the request is over."""
        view = memoryview(body)
        while view and not self._ended:
            while self._room == 0 and not self._ended:
                self._has_room.clear()
                self._has_room.wait()
            if self._ended:
                break
            size = min(len(view), self._room, frames.MAX_BODY)
            self._room -= size
            self._helper.send({"id": self._number, "op": "data"}, bytes(view[:size]))
            view = view[size:]
        return not self._ended

    def end(self) -> None:
        """Ends the input."""
        if not self._ended:
            self._helper.send({"id": self._number, "op": "end"})

    # Called by the helper's reader.

    def _arrived(self, frame: Frame) -> None:
        error = frame.header.get("error")
        if error is not None:
            self._failed(_raised(error))
        elif frame.header.get("event") == "credit":
            self._room += frame.header["bytes"]
            self._has_room.set()
        else:
            self._frames.put(frame)

    def _failed(self, error: OSError) -> None:
        self._frames.put(error)
        self._ended = True
        self._has_room.set()

    def _end(self) -> None:
        self._ended = True
        self._has_room.set()
        self._helper.forget(self._number)


def _raised(error: dict[str, Any]) -> OSError:
    """As Python's own, such as ``FileNotFoundError``, where the kernel of the box gave a number."""
    message, number = str(error.get("message")), error.get("errno")
    if number is not None:
        return OSError(int(number), message)
    return BoxherdError(message, str(error.get("code")), error.get("hint"))


def program() -> str:
    """Where ``boxherd`` is: ``BOXHERD_BIN``, or on the path."""
    named = os.environ.get("BOXHERD_BIN")
    if named:
        return named
    found = shutil.which("boxherd")
    if found is None:
        raise BoxherdError(
            "there is no program `boxherd`", "no-program", "put it on the PATH, or set BOXHERD_BIN"
        )
    return found


class Helper:
    """A process that answers. It ends with us, because its input does."""

    window = frames.MAX_BODY

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._calls: dict[int, Call] = {}
        self._numbers = itertools.count(1)
        self._last_words: deque[str] = deque(maxlen=10)
        self._outbox: Queue[bytes | None] = Queue()
        self._over: OSError | None = None
        # In a session of its own: what interrupts us at the terminal lets it go on until we leave.
        self._process = Popen(
            [program(), "connect", "--stdio"],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        self._greenlets = [
            gevent.spawn(self._read),
            gevent.spawn(self._write),
            gevent.spawn(self._listen),
        ]
        self._greet()

    @property
    def alive(self) -> bool:
        """Whether requests can be made."""
        return self._over is None and self.pid == os.getpid()

    def call(self, op: str, **fields: Any) -> Call:
        """Begins a request; fields that are ``None`` are left out."""
        if self._over is not None:
            raise self._over
        # No greenlet switches between the number and the frame: they go out in order.
        number = next(self._numbers)
        call = Call(self, number)
        self._calls[number] = call
        fields = {key: value for key, value in fields.items() if value is not None}
        self.send({"id": number, "op": op, **fields})
        return call

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """A request with one answer."""
        with self.call(op, **fields) as call:
            answer = call.next().header
            call.finish()
        return answer

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Puts a frame out, whole, in turn. What waits is bounded by the windows of the calls."""
        self._outbox.put(frames.encode(header, body))

    def forget(self, number: int) -> None:
        """What still comes of that request is nobody's."""
        self._calls.pop(number, None)

    def close(self) -> None:
        """Ends the process, and what it runs, and waits for it."""
        if self.pid != os.getpid():
            return
        self._outbox.put(None)
        try:
            self._process.wait(timeout=_LEAVE)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()
        gevent.joinall(self._greenlets, timeout=1)
        gevent.killall(self._greenlets)

    def _greet(self) -> None:
        try:
            hello = self.ask("hello", protocol=PROTOCOL)
        except OSError:
            self.close()
            raise
        self.window = int(hello["window"])

    def _read(self) -> None:
        error: OSError
        try:
            while (frame := frames.decode(self._process.stdout.read)) is not None:
                number = frame.header.get("id")
                if number == 0:
                    raise _raised(frame.header["error"])
                call = self._calls.get(number) if isinstance(number, int) else None
                if call is not None:
                    call._arrived(frame)
            error = self._why_ended()
        except OSError as broken:
            error = broken
        self._over = error
        for call in list(self._calls.values()):
            call._failed(error)

    def _why_ended(self) -> OSError:
        code = self._process.wait()
        self._greenlets[2].join(timeout=1)
        said = " ".join(self._last_words).removeprefix("error: ")
        return BoxherdError(
            f"boxherd ended with {code}: {said}" if said else f"boxherd ended with {code}",
            "helper-ended",
        )

    def _write(self) -> None:
        pipe = self._process.stdin
        try:
            for frame in iter(self._outbox.get, None):
                pipe.write(frame)
                if self._outbox.empty():
                    pipe.flush()
            pipe.close()
        except OSError:
            # It has ended; the reader tells why.
            pass

    def _listen(self) -> None:
        for line in self._process.stderr:
            self._last_words.append(line.decode("utf-8", "replace").rstrip("\n"))


_lock = RLock()
# By hub, which is one for each thread that runs greenlets.
_helpers: WeakKeyDictionary[Any, Helper] = WeakKeyDictionary()


def get() -> Helper:
    """The helper of this run: made when it is first needed, and again when it has ended."""
    with _lock:
        hub = gevent.get_hub()
        helper = _helpers.get(hub)
        if helper is None or not helper.alive:
            helper = _helpers[hub] = Helper()
        return helper


@atexit.register
def close() -> None:
    """Ends the helper of this thread; another is made when one is needed. Those of other threads end
    with the process."""
    helper = _helpers.pop(gevent.get_hub(), None)
    if helper is not None:
        helper.close()
