"""Real boxes: of this machine, and with ``BOXHERD_LAB_LXD`` of a real LXD server."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.host import Host
from pyinfra.api.output import set_echo
from pyinfra_boxherd import helper

CROWD = 10
PROGRAMS = "/srv/bin"
"""Where tests put programs of their own: the `/usr` of a box may be read-only."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def boxherd(*args: str, stdin: str = "") -> str:
    """What the program says."""
    done = subprocess.run(
        [os.environ["BOXHERD_BIN"], *args], capture_output=True, text=True, input=stdin
    )
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout


@dataclass
class Place:
    """An engine with a box."""

    engine: str
    name: str

    @property
    def address(self) -> str:
        return f"{self.engine}:{self.name}"

    @property
    def host(self) -> str:
        return f"@boxherd/{self.address}"


SU = """#!/bin/sh
# For boxes of the image `host`: the real one wants to tell the audit system of the kernel.
while :; do
    case $1 in
    -s) shell=$2; shift 2 ;;
    *) break ;;
    esac
done
user=$1
shift
exec setpriv --reuid "$user" --regid nogroup --clear-groups "${shell:-sh}" "$@"
"""


@pytest.fixture(scope="session")
def engines() -> Iterator[list[str]]:
    """Engines that were added, which are forgotten after the boxes on them are gone."""
    added: list[str] = []
    yield added
    for engine in added:
        boxherd("engine", "rm", engine)


@pytest.fixture(scope="session")
def boxes(engines: list[str]) -> Iterator[Callable[[str], str]]:
    """Makes boxes, which are deleted at the end."""
    made: list[str] = []

    def make(engine: str) -> str:
        name = f"pyinfra-{uuid.uuid4().hex[:8]}"
        made.append(f"{engine}:{name}")
        boxherd("create", f"{engine}:{name}", "--env", f"PATH={PROGRAMS}:{PATH}")
        return name

    yield make
    if made:
        boxherd("rm", "--force", *made)


@pytest.fixture(scope="session")
def socket() -> str:
    """The socket of a real LXD server."""
    folder = os.environ.get("BOXHERD_LAB_LXD")
    if folder is None:
        pytest.skip("`BOXHERD_LAB_LXD` is not set (see `cargo xtask lab`)")
    lines = (Path(folder) / "lab.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["socket"]


@pytest.fixture(scope="session")
def lxc(socket: str) -> Callable[..., str]:
    """The client of that server, as others use it; returns what it says."""
    home = Path(socket).parent
    variables = {**os.environ, "LXD_DIR": str(home), "LXD_CONF": str(home.with_name("conf"))}

    def run(*args: str) -> str:
        done = subprocess.run(
            ["lxc", *args], env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def lab(engines: list[str], socket: str) -> str:
    """The engine of that server."""
    boxherd("engine", "add", "pylab", "--lxd", f"unix:{socket}", "--image", "deb12", "--pool", "bt")
    engines.append("pylab")
    # The next one knows the engine.
    helper.close()
    return "pylab"


@pytest.fixture(scope="session")
def lab_box(lab: str, boxes: Callable[[str], str]) -> Place:
    return Place(lab, boxes(lab))


@pytest.fixture(scope="session")
def local_box(boxes: Callable[[str], str]) -> Place:
    place = Place("local", boxes("local"))
    line = f"mkdir -p {PROGRAMS}; cat > {PROGRAMS}/su; chmod 755 {PROGRAMS}/su"
    boxherd("exec", place.address, "--", "sh", "-c", line, stdin=SU)
    return place


@pytest.fixture(scope="session", params=["local", "lxd"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue("local_box" if request.param == "local" else "lab_box")


@pytest.fixture(autouse=True)
def echo() -> None:
    """Output as the command line has it; the interface has none."""
    set_echo(click.echo)


@pytest.fixture(scope="session", params=["local", "lxd"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue("local_box" if request.param == "local" else "lab_box")


@pytest.fixture
def state() -> Iterator[Callable[..., State]]:
    """Connects to hosts; raises when one cannot be."""
    states: list[State] = []

    def make(*names: str) -> State:
        found = State(Inventory((list(names), {})), Config(CONNECT_TIMEOUT=30))
        states.append(found)
        connect_all(found)
        return found

    yield make
    for found in states:
        disconnect_all(found)


@pytest.fixture
def host(place: Place, state: Callable[..., State]) -> Host:
    """A host that is connected."""
    return state(place.host).inventory.get_host(place.host)


@pytest.fixture
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """pyinfra as people run it."""

    def run(*args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("pyinfra")
        return subprocess.run(
            [program, *args], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    return run
