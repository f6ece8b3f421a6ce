"""The connector of `pyinfra-lxd-api-connector`, as `boxherd bench lxd` asks it: a line with what to do on
standard input, a line with how long it took on standard output."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import io  # noqa: E402
import sys  # noqa: E402
from time import perf_counter  # noqa: E402

import gevent  # noqa: E402
from pyinfra.api import Config, Inventory, State  # noqa: E402
from pyinfra.api.command import StringCommand  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402

PLACE = "/var/tmp/small"
SMALL = b"x" * 1024


class Peer:
    """One host that is connected."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: State | None = None

    def host(self) -> Host:
        if self.state is None:
            self.state = State(Inventory(([self.name], {})), Config(CONNECT_TIMEOUT=30))
            connect_all(self.state)
        return self.state.inventory.get_host(self.name)

    def true(self) -> None:
        done, output = self.host().run_shell_command(StringCommand("true"))
        if not done:
            raise RuntimeError(f"`true` failed: {output.stderr}")

    def connect(self) -> float:
        if self.state is not None:
            disconnect_all(self.state)
            self.state = None
        return millis(self.true)

    def exec(self) -> float:
        return millis(self.true)

    def put(self) -> float:
        return millis(lambda: self.host().put_file(io.BytesIO(SMALL), PLACE))

    def get(self) -> float:
        content = io.BytesIO()
        took = millis(lambda: self.host().get_file(PLACE, content))
        if content.getvalue() != SMALL:
            raise RuntimeError("another file came back")
        return took

    def rate(self, tasks: int, commands: int) -> float:
        def task() -> None:
            for _ in range(commands):
                self.true()

        def all_of_them() -> None:
            gevent.joinall([gevent.spawn(task) for _ in range(tasks)], raise_error=True)

        return tasks * commands * 1000 / millis(all_of_them)


def millis(what: object) -> float:
    assert callable(what)
    start = perf_counter()
    what()
    return (perf_counter() - start) * 1000


def main() -> None:
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        word, *numbers = line.split()
        try:
            answer = f"took {getattr(peer, word)(*map(int, numbers))}"
        except Exception as error:  # noqa: BLE001
            answer = f"failed {type(error).__name__}: {error}".replace("\n", " ")
        print(answer, flush=True)


main()
