"""The SDK 0.2.19 (`Boxd().machines`, plain data) against a running server."""

import asyncio
import time

import pytest

import boxd
from boxd import AsyncBoxd, Boxd


@pytest.fixture(scope="module")
def client():
    with Boxd() as made:
        yield made


@pytest.fixture
def machine(client):
    made = client.machines.create()
    yield made
    client.machines.delete(made.id)


def test_account(client):
    assert client.account.get().user_id
    assert client.account.config().zone == "localhost"


def test_a_machine_is_made_found_and_deleted(client):
    made = client.machines.create("peer-modern", labels={"tier": "front"})
    try:
        assert made.status == "running"
        assert client.machines.get("peer-modern").id == made.id
        assert client.machines.get(made.id).labels == {"tier": "front"}
        assert made.id in [machine.id for machine in client.machines.list()]
    finally:
        client.machines.delete(made.id)
    with pytest.raises(boxd.NotFoundError):
        client.machines.get(made.id)


def test_exec_splits_output(client, machine):
    done = client.machines.exec(machine.id, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 3)


def test_wait_until_ready(client, machine):
    client.machines.wait_until_ready(machine.id)


def test_files(client, machine):
    files = client.machines.files
    data = bytes(range(256)) * 20_000
    files.mkdir(machine.id, "/srv/folder")
    assert files.upload(machine.id, "/srv/folder/data", data) == len(data)
    assert files.download(machine.id, "/srv/folder/data") == data
    listed = files.list_dir(machine.id, "/srv/folder")
    assert [entry.name for entry in listed.entries] == ["data"]
    files.rename(machine.id, "/srv/folder/data", "/srv/folder/other")
    files.delete(machine.id, "/srv/folder")
    with pytest.raises(boxd.NotFoundError):
        files.download(machine.id, "/srv/folder/other")


def test_pause_resume_stop_start_reboot(client, machine):
    assert client.machines.pause(machine.id).suspend_us > 0
    assert client.machines.get(machine.id).status == "suspended"
    assert client.machines.resume(machine.id).resume_us > 0
    client.machines.stop(machine.id)
    assert client.machines.get(machine.id).status == "stopped"
    client.machines.start(machine.id)
    client.machines.reboot(machine.id)
    assert client.machines.get(machine.id).status == "running"


def test_fork_rename_and_labels(client, machine):
    client.machines.exec(machine.id, ["sh", "-c", "echo note > /srv/note"])
    fork = client.machines.fork(machine.id, "peer-fork", labels={"copy": "yes"})
    try:
        assert client.machines.exec(fork.id, ["cat", "/srv/note"]).stdout == "note\n"
        client.machines.rename(fork.id, "peer-renamed")
        assert client.machines.get("peer-renamed").id == fork.id
        client.machines.update_labels(fork.id, set={"more": "x"}, remove=["copy"])
        assert client.machines.get(fork.id).labels == {"more": "x"}
    finally:
        client.machines.delete(fork.id)


def test_selectors(client):
    front = client.machines.create(labels={"tier": "front", "suite": "peer"})
    back = client.machines.create(labels={"tier": "back", "suite": "peer"})
    try:
        found = client.machines.list(labels={"tier": "front", "suite": "peer"})
        assert [machine.id for machine in found] == [front.id]
    finally:
        for machine in (front, back):
            client.machines.delete(machine.id)


def test_api_keys(client):
    made = client.api_keys.create("peer")
    assert made.api_key.startswith("bxd_")
    with Boxd(api_key=made.api_key) as other:
        assert other.account.get().user_id == client.account.get().user_id
        client.api_keys.delete(made.id)
        with pytest.raises(boxd.AuthenticationError):
            other.account.get()
    assert made.id not in [key.id for key in client.api_keys.list()]


def test_suggested_names_are_names(client):
    assert client.machines.suggest_name()


def test_logs(client, machine):
    assert b"".join(client.machines.logs(machine.id)) is not None


def test_what_is_not_offered_says_so(client):
    with pytest.raises(boxd.APIStatusError, match="ListTeams"):
        client.teams.list()


def test_everything_asynchronously():
    async def run():
        async with AsyncBoxd() as client:
            machine = await client.machines.create()
            try:
                done = await client.machines.exec(machine.id, ["echo", "hello"])
                assert done.stdout == "hello\n"
                many = [client.machines.exec(machine.id, ["true"]) for _ in range(50)]
                assert all(one.exit_code == 0 for one in await asyncio.gather(*many))
            finally:
                await client.machines.delete(machine.id)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_command_that_is_left_alone_is_ended(client, machine):
    with pytest.raises(boxd.BoxdError):
        client.machines.exec(machine.id, ["sleep", "4711"], timeout=1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if client.machines.exec(machine.id, ["pgrep", "-f", "sleep 471[1]"]).exit_code == 1:
            return
    raise AssertionError("the command still runs")


def test_proxies(client):
    machine = client.machines.create("peer-proxies", proxies=[boxd.ProxyEntry(name="api", port=3000)])
    try:
        proxies = client.machines.proxies
        default, api = proxies.list("peer-proxies")
        assert (default.name, default.domain, default.port) == (None, "peer-proxies.localhost", 8000)
        assert (api.domain, api.port, api.port_mode) == ("api.peer-proxies.localhost", 3000, "locked")
        assert api.machine_id == machine.id
        assert proxies.create(machine.id, "web", 5000).port == 5000
        proxies.set_port(machine.id, "auto")
        proxies.set_port(machine.id, 5001, name="web")
        shown = {proxy.name: (proxy.port_mode, proxy.port) for proxy in proxies.list(machine.id)}
        assert shown["web"] == ("locked", 5001)
        assert shown[None][0] == "auto"
        proxies.delete(machine.id, "web")
        with pytest.raises(boxd.NotFoundError):
            proxies.delete(machine.id, "web")
        with pytest.raises(boxd.ConflictError):
            proxies.create(machine.id, "api", 1)
    finally:
        client.machines.delete(machine.id)


def test_custom_domains(client, machine):
    made = client.domains.create("modern.example.com", machine.id)
    try:
        assert (made.status, made.machine_id, made.machine_name) == ("active", machine.id, machine.name)
        assert [domain.domain for domain in client.domains.list()] == ["modern.example.com"]
    finally:
        client.domains.delete("modern.example.com")
    assert client.domains.list() == []
