"""Names of hosts, what cannot be connected to, and pyinfra as people run it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Place, boxherd
from pyinfra.api import State
from pyinfra.api.connectors import get_all_connectors
from pyinfra.api.exceptions import ConnectError, InventoryError, PyinfraError
from pyinfra_boxherd import helper
from pyinfra_boxherd.boxherd import BoxherdConnector
from pyinfra_boxherd.lxd_api import LxdApiConnector


def test_pyinfra_finds_both() -> None:
    found = get_all_connectors()
    assert found["boxherd"] is BoxherdConnector
    assert found["lxd_api"] is LxdApiConnector


def test_names_become_hosts() -> None:
    make = BoxherdConnector.make_names_data
    assert list(make("web")) == [("@boxherd/web", {"boxherd_box": "web"}, ["@boxherd"])]
    assert list(make("lab:web")) == [
        ("@boxherd/lab:web", {"boxherd_box": "lab:web"}, ["@boxherd"])
    ]
    expected = {"lxd_remote": "lab", "lxd_container": "web"}
    assert list(LxdApiConnector.make_names_data("lab:web")) == [
        ("@lxd_api/lab:web", expected, ["@lxd_api"])
    ]


@pytest.mark.parametrize("name", [None, "", ":", ":web", "UPPER", "a:b:c", "a b", "-a"])
def test_names_that_are_none(name: str | None) -> None:
    with pytest.raises(InventoryError):
        list(BoxherdConnector.make_names_data(name))


@pytest.mark.parametrize("name", [None, "", ":", ":web", "lab:"])
def test_containers_that_are_none(name: str | None) -> None:
    with pytest.raises(InventoryError):
        list(LxdApiConnector.make_names_data(name))


def test_the_default_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InventoryError, match="default-remote"):
        list(LxdApiConnector.make_names_data("web"))
    (tmp_path / ".config/lxc").mkdir(parents=True)
    (tmp_path / ".config/lxc/config.yml").write_text('remotes: {}\ndefault-remote: "home"\n')
    [(name, _, _)] = LxdApiConnector.make_names_data("web")
    assert name == "@lxd_api/home:web"


def test_every_box_of_an_engine(local_box: Place, boxes: Callable[[str], str]) -> None:
    stopped = boxes("local")
    boxherd("stop", f"local:{stopped}")
    names = [name for name, _, _ in BoxherdConnector.make_names_data("local:")]
    assert local_box.host in names
    assert f"@boxherd/local:{stopped}" not in names
    with pytest.raises(InventoryError, match="no engine"):
        list(BoxherdConnector.make_names_data("nowhere:"))


def test_one_helper_serves_every_host(
    state: Callable[..., State], local_box: Place, boxes: Callable[[str], str]
) -> None:
    state(local_box.host, f"@boxherd/{boxes('local')}")
    first = helper.get()
    state(local_box.host)
    assert helper.get() is first


@pytest.mark.parametrize("name", ["@boxherd/no-such-box", "@boxherd/nowhere:web", "@lxd_api/no:web"])
def test_what_is_not_there_fails_in_connect(state: Callable[..., State], name: str) -> None:
    with pytest.raises(PyinfraError):
        state(name)


def test_a_box_that_is_stopped(state: Callable[..., State], boxes: Callable[[str], str]) -> None:
    name = boxes("local")
    found = state(f"@boxherd/{name}")
    boxherd("stop", name)
    [host] = found.inventory
    with pytest.raises(ConnectError, match=f"boxherd start {name}"):
        host.connector.connect()


def test_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    helper.close()
    monkeypatch.setenv("BOXHERD_BIN", "/no/such/program")
    with pytest.raises(FileNotFoundError):
        helper.get()
    monkeypatch.setenv("BOXHERD_BIN", "/bin/false")
    with pytest.raises(OSError, match="ended with 1"):
        helper.get()


def test_a_helper_that_was_killed_is_made_again(
    state: Callable[..., State], local_box: Place
) -> None:
    [host] = state(local_box.host).inventory
    helper.get()._process.kill()
    with pytest.raises(OSError):
        host.run_shell_command("true")
    assert host.run_shell_command("true")[0]


def test_an_instance_of_lxd(lab_box: Place, state: Callable[..., State]) -> None:
    name = f"@lxd_api/{lab_box.address}"
    host = state(name).inventory.get_host(name)
    assert host.run_shell_command("hostname")[1].stdout == lab_box.name
    with pytest.raises(PyinfraError):
        state(f"@lxd_api/{lab_box.engine}:no-such-box")


def test_an_instance_that_somebody_else_made(
    lab: str, lxc: Callable[..., str], state: Callable[..., State]
) -> None:
    instance = f"pyinfra-{uuid.uuid4().hex[:8]}"
    lxc("launch", "deb12", instance, "--storage", "bt")
    try:
        name = f"@lxd_api/{lab}:{instance}"
        host = state(name).inventory.get_host(name)
        assert host.run_shell_command("hostname")[1].stdout == instance
        assert host.put_file(io.BytesIO(b"theirs"), "/root/file")
        boxherd("rm", "--force", f"{lab}:{instance}")
        # It is given back as it is, and was never ours to delete.
        assert lxc("exec", instance, "--", "cat", "/root/file") == "theirs"
        assert "user.boxherd" not in lxc("config", "show", instance)
    finally:
        lxc("delete", "--force", instance)


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_command_line(run_cli: Cli, place: Place) -> None:
    done = run_cli(place.host, "exec", "-y", "--", "echo", "from the box")
    assert done.returncode == 0, done.stderr
    assert "from the box" in done.stdout + done.stderr


def test_one_dead_host_does_not_stop_the_others(run_cli: Cli, local_box: Place) -> None:
    done = run_cli(
        f"{local_box.host},@boxherd/no-such-box", "exec", "-y", "--fail-percent", "60", "--", "hostname"
    )
    said = done.stdout + done.stderr
    assert local_box.name in said and "there is no box" in said, said


def test_a_run_that_is_killed_leaves_nothing(local_box: Place) -> None:
    program = Path(sys.executable).with_name("pyinfra")
    line = "echo $$ > /tmp/begun; exec sleep 4323"
    run = subprocess.Popen(
        [program, local_box.host, "exec", "-y", "--", line],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    def runs() -> bool:
        look = "test -s /tmp/begun && kill -0 $(cat /tmp/begun) && echo runs || echo over"
        return boxherd("exec", local_box.address, "--", "sh", "-c", look) == "runs\n"

    _until(runs)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    _until(lambda: not runs())


def _until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.05)
