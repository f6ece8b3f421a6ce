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


def test_the_only_org_is_the_callers_own(client):
    (own,) = client.orgs.list()
    assert own.is_default and own.is_admin and own.slug == "admin"
    made = client.machines.create(org=own.slug)
    client.machines.delete(made.id)
    with pytest.raises(boxd.NotFoundError):
        client.machines.create(org="another")


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


def test_a_copy_differs_from_its_source_where_that_is_asked(client, machine):
    machines = client.machines
    fork = machines.fork(
        machine.id, "peer-changed", isolated=True, vcpu=1, memory="256M",
        labels={"copy": "yes"}, auto_suspend_timeout=3600,
        proxies=[boxd.ProxyEntry(name="api", port=3000)])
    try:
        told = machines.get(fork.id)
        assert (told.status, told.networking.isolated) == ("running", True)
        assert (told.resources.vcpu, told.resources.memory_bytes) == (1, 256 << 20)
        assert (told.idle.suspend_after, told.labels) == (3600, {"copy": "yes"})
        assert not machines.get(machine.id).networking.isolated
        assert "api" in [one.name for one in machines.proxies.list(fork.id)]
    finally:
        machines.delete(fork.id)
    for refused in ({"disk": "1G"}, {"shared": True}, {"networks": ["none-such"]},
                    {"volumes": [boxd.VolumeMount(disk_id="d", mount_path="/mnt")]}):
        with pytest.raises(boxd.BoxdError):
            machines.fork(machine.id, "peer-refused", **refused)
    assert "peer-refused" not in [one.name for one in machines.list()]


def test_timers_are_set_told_and_cleared(client, machine):
    machines = client.machines
    machines.set_auto_suspend_timeout(machine.id, 3600)
    machines.set_auto_hibernate_timeout(machine.id, 7200)
    end = machines.set_delete_after(machine.id, 5000)
    assert 4900 < end.timestamp() - time.time() < 5100
    machines.set_idle_ignore_outbound(machine.id, True)
    idle = machines.get(machine.id).idle
    assert (idle.suspend_after, idle.hibernate_after) == (3600, 7200)
    assert machines.set_delete_after(machine.id, 0) is None
    machines.set_auto_suspend_timeout(machine.id, 0)
    end = machines.set_delete_after(machine.id, cron="0 18 * * *")
    assert (end.hour, end.minute, end.second) == (18, 0, 0)
    assert 0 < end.timestamp() - time.time() <= 86400
    told = machines.get(machine.id)
    assert (told.delete_at, told.delete_after_cron) == (end, "0 18 * * *")
    for nonsense in ("daily", "0 0 18 * * *", "0 0 30 2 *", "* " * 500):
        with pytest.raises(boxd.APIStatusError, match="delete_after_cron"):
            machines.set_delete_after(machine.id, cron=nonsense)
    assert machines.get(machine.id).delete_at == end
    fork = machines.fork(machine.id, "peer-timed-fork")
    assert (fork.delete_at, fork.delete_after_cron) == (end, "0 18 * * *")
    machines.delete(fork.id)
    assert machines.set_delete_after(machine.id, 0) is None
    with pytest.raises(boxd.APIStatusError, match="inbound"):
        machines.set_idle_ignore_outbound(machine.id, False)


def test_a_machine_ends_when_its_time_is_up(client):
    made = client.machines.create()
    client.machines.set_delete_after(made.id, 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            client.machines.get(made.id)
        except boxd.NotFoundError:
            return
        time.sleep(0.2)
    raise AssertionError("the machine is still there")


def test_usage_is_told_of_machines_that_are_and_were(client):
    began = time.time()
    made = client.machines.create("peer-used", vcpu=2, memory="512M")
    client.machines.exec(made.id, ["sh", "-c", "head -c 60M /dev/zero > /srv/fill; sleep 2"])
    client.machines.pause(made.id)
    time.sleep(1.5)
    used = client.machines.usage("peer-used")
    assert (used.machine_id, used.name, used.status) == (made.id, "peer-used", "suspended")
    assert (used.resources.vcpu, used.resources.memory_bytes) == (2, 512 << 20)
    assert used.owner_name == "admin" and not used.complete and used.cost_micro == 0
    lived = time.time() - began
    assert 2 <= used.seconds.running <= lived and 1 <= used.seconds.standby <= lived
    assert abs(used.vcpu_hours * 3600 / 2 - used.seconds.running) <= 1.1
    assert used.ram_gib_hours > 0
    assert began - 1 <= used.period.start.timestamp() < used.period.end.timestamp() <= time.time()
    assert made.id in [one.machine_id for one in client.orgs.usage(org="admin").machines]
    for since, until in ((-1, None), (2**62, None), (2**60, 5)):
        with pytest.raises(boxd.APIStatusError) as refused:
            client.machines.usage(made.id, since=since, until=until)
        assert refused.value.code == "invalid_argument"
    client.machines.delete(made.id)
    gone = client.machines.usage("peer-used")
    assert (gone.machine_id, gone.status, gone.complete) == (made.id, "deleted", True)
    assert gone.seconds.running == used.seconds.running
    assert gone.seconds.standby >= used.seconds.standby
    with pytest.raises(boxd.NotFoundError):
        client.machines.usage("peer-never-was")


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


def test_checkpoints_are_kept_and_gone_back_to(client, machine):
    checkpoints = client.machines.checkpoints
    client.machines.exec(machine.id, ["sh", "-c", "echo before > /srv/note"])
    assert checkpoints.create(machine.id, "before").name == "before"
    client.machines.exec(machine.id, ["sh", "-c", "echo after > /srv/note"])
    (kept,) = checkpoints.list(machine.id)
    assert (kept.name, kept.available) == ("before", True)
    assert abs(kept.created_at.timestamp() - time.time()) < 60
    with pytest.raises(boxd.ConflictError):
        checkpoints.create(machine.id, "before")
    checkpoints.restore(machine.id, "before")
    assert client.machines.get(machine.id).status == "running"
    assert client.machines.exec(machine.id, ["cat", "/srv/note"]).stdout == "before\n"
    checkpoints.delete(machine.id, "before")
    with pytest.raises(boxd.NotFoundError):
        checkpoints.restore(machine.id, "before")


def test_variables_and_secrets_reach_commands(client, machine):
    client.env.set("PEER_COLOUR", "red")
    client.secrets.set("PEER_SECRET", "hunter2")
    try:
        told = client.machines.exec(machine.id, ["sh", "-c", "echo $PEER_COLOUR $PEER_SECRET"])
        assert told.stdout == "red hunter2\n"
        assert ("PEER_COLOUR", "red") in [(one.name, one.value) for one in client.env.list()]
        assert "hunter2" not in repr(client.secrets.list()) + repr(client.env.list())
        assert [one.name for one in client.secrets.list()] == ["PEER_SECRET"]
        with pytest.raises(boxd.ConflictError):
            client.env.set("PEER_SECRET", "shown")
        with pytest.raises(boxd.APIStatusError, match="domains"):
            client.secrets.set("OTHER", "x", domains=["api.example.com"])
        with pytest.raises(boxd.APIStatusError, match="scope"):
            client.env.set("OTHER", "x", scope="shared")
    finally:
        client.env.delete("PEER_COLOUR")
        client.secrets.delete("PEER_SECRET")
    told = client.machines.exec(machine.id, ["sh", "-c", "echo $PEER_COLOUR$PEER_SECRET"])
    assert told.stdout == "\n"


def test_a_tree_is_copied_in_the_machine(client, machine):
    files = client.machines.files
    files.upload(machine.id, "/srv/tree/deep/note", b"note")
    files.copy(machine.id, "/srv/tree", "/srv/other")
    assert files.download(machine.id, "/srv/other/deep/note") == b"note"
    with pytest.raises(boxd.NotFoundError):
        files.copy(machine.id, "/srv/missing", "/srv/more")
    with pytest.raises(boxd.ConflictError, match="cp"):
        files.copy(machine.id, "/srv/tree", "/srv/no/such/folder")


def test_a_machine_is_resized_and_restarted_for_it(client, machine):
    made = client.machines.resize(machine.id, vcpu=1, memory="256M")
    assert (made.vcpu, made.memory_bytes, made.rebooted) == (1, 256 << 20, True)
    told = client.machines.get(machine.id)
    assert told.status == "running"
    assert (told.resources.vcpu, told.resources.memory_bytes) == (1, 256 << 20)
    client.machines.pause(machine.id)
    with pytest.raises(boxd.ConflictError):
        client.machines.resize(machine.id, vcpu=2)
    client.machines.stop(machine.id)
    assert client.machines.resize(machine.id, memory="128M").rebooted is False
    client.machines.start(machine.id)
    # More than the box may have, all of it touched.
    eats = "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c"
    try:
        assert "200000000" not in client.machines.exec(machine.id, ["sh", "-c", eats]).stdout
    except boxd.BoxdError:
        # The whole box may end, and with it the call.
        pass


def test_networks_and_egress_of_a_stopped_machine(client, machine):
    with pytest.raises(boxd.ConflictError, match="not stopped"):
        client.machines.set_egress_allow(machine.id, ["192.0.2.1"])
    client.machines.stop(machine.id)
    assert client.machines.set_egress_allow(machine.id, ["192.0.2.1"]) == ["192.0.2.1"]
    assert client.machines.get(machine.id).egress_allow == ["192.0.2.1"]
    client.machines.start(machine.id)
    assert client.machines.exec(machine.id, ["true"]).exit_code == 0
    with pytest.raises(boxd.NotFoundError):
        client.machines.set_networks(machine.id, ["not-there"])
    client.machines.stop(machine.id)
    assert client.machines.set_egress_allow(machine.id, []) == []


def test_machines_are_made_from_snapshots(client):
    source = client.machines.create("peer-saved")
    made = None
    try:
        client.machines.exec(source.id, ["sh", "-c", "echo saved > /srv/note"])
        assert client.snapshots.create(source.id, "peer-base").version == 1
        assert client.snapshots.create(source.id, "peer-base").version == 2
        assert [one.name for one in client.snapshots.list()] == ["peer-base"]
        saved = client.snapshots.get("peer-base")
        assert saved.version == 2
        assert abs(saved.created_at.timestamp() - time.time()) < 60
        client.machines.delete(source.id)
        assert "peer-saved" not in [one.name for one in client.machines.list()]
        made = client.machines.create("peer-of-snapshot", from_snapshot="peer-base")
        assert client.machines.exec(made.id, ["cat", "/srv/note"]).stdout == "saved\n"
        before = len(client.machines.list())
        client.snapshots.delete("peer-base")
        assert len(client.machines.list()) == before
        with pytest.raises(boxd.NotFoundError):
            client.snapshots.get("peer-base")
    finally:
        if made:
            client.machines.delete(made.id)


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


def test_a_disk_goes_from_machine_to_machine(client, machine):
    disks = client.disks
    disk = disks.create("peer-disk", "64M")
    assert (disk.name, disk.size_bytes, disk.status) == ("peer-disk", 64 << 20, "ready")
    disks.attach(disk.id, machine.id, "/srv/data", read_only=False)
    [listed] = [one for one in disks.list() if one.id == disk.id]
    assert listed.created_at is not None
    [attached] = listed.attachments
    assert (attached.machine_id, attached.machine_name) == (machine.id, machine.name)
    assert (attached.mount_path, attached.mount_mode) == ("/srv/data", "rw")
    client.machines.exec(machine.id, ["sh", "-c", "echo kept > /srv/data/file"])
    for refused in (
        lambda: disks.delete(disk.id),
        lambda: disks.attach(disk.id, machine.id, "/elsewhere"),
    ):
        with pytest.raises(boxd.ConflictError) as conflict:
            refused()
        assert conflict.value.code == "failed_precondition"
    for path in ("relative", "/", "/proc/x", "/srv/../x"):
        with pytest.raises(boxd.APIStatusError) as refused:
            disks.attach(disk.id, machine.id, path)
        assert refused.value.code == "invalid_argument"
    busy = client.machines.exec(
        machine.id, ["sh", "-c", "cd /srv/data; setsid sleep 1000 >/dev/null 2>&1 & echo $!"]
    )
    with pytest.raises(boxd.ConflictError):
        disks.detach(disk.id, machine.id)
    pid = busy.stdout.strip()
    client.machines.exec(
        machine.id, ["sh", "-c", f"kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.01; done"]
    )
    disks.detach(disk.id, machine.id)
    with pytest.raises(boxd.ConflictError):
        disks.detach(disk.id, machine.id)
    volume = boxd.VolumeMount(disk_id=disk.id, mount_path="/srv", read_only=True)
    with_disk = client.machines.create("peer-with-disk", volumes=[volume])
    done = client.machines.exec(with_disk.id, ["cat", "/srv/file"])
    assert done.stdout == "kept\n"
    client.machines.delete(with_disk.id)
    disks.delete(disk.id)
    assert disk.id not in [one.id for one in disks.list()]
    with pytest.raises(boxd.NotFoundError):
        disks.delete(disk.id)


# A repository of one package, made in the machine: nothing comes from outside.
# The files of the host, of which such a machine is made, are without the lists of dpkg and apt.
REPOSITORY = """set -e
mkdir -p /etc/apt/apt.conf.d /var/lib/dpkg/info /var/lib/dpkg/updates /var/cache/apt/archives/partial
touch /var/lib/dpkg/status
mkdir -p /srv/repo/probe/DEBIAN /srv/repo/probe/opt && cd /srv/repo
printf '#!/bin/sh\\necho probed\\n' > probe/opt/peer-probe && chmod 755 probe/opt/peer-probe
printf 'Package: peer-probe\\nVersion: 1\\nArchitecture: all\\nMaintainer: t <t@example.com>\\n' \\
    > probe/DEBIAN/control
printf 'Description: x\\n' >> probe/DEBIAN/control
dpkg-deb --root-owner-group -Zgzip -b probe probe.deb
{ cat probe/DEBIAN/control; echo "Filename: ./probe.deb"; echo "Size: $(stat -c %s probe.deb)"
  echo "SHA256: $(sha256sum probe.deb | cut -d' ' -f1)"; } > Packages
echo 'deb [trusted=yes] file:/srv/repo ./' > /srv/repo.list"""
OFFLINE = "-o Dir::Etc::sourceparts=- -o Acquire::http::Timeout=1 -o Acquire::Retries=0"
APT = f"apt-get -y {OFFLINE} -o Dir::Etc::sourcelist"


def packages_of(client, machine, *states):
    """The packages of a machine once they are in these states."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        packages = client.machines.get(machine.id).packages
        if [package.state for package in packages] == list(states):
            return packages
        time.sleep(0.1)
    raise AssertionError([(one.state, one.output_tail) for one in packages])


def test_a_machine_is_made_from_a_spec_with_packages(client):
    client.secrets.set("PEER_TOKEN", "swordfish")
    install = f"{APT}=/srv/repo.list update && {APT}=/srv/repo.list install peer-probe"
    spec = (
        boxd.Machine.spec().size("1x1").label("team", "eng").env("COLOUR", "red")
        .packages(REPOSITORY, install, 'echo "$COLOUR $PEER_TOKEN"; false', "touch /srv/never")
        .with_(boxd.secrets("PEER_TOKEN"))
    )
    made = client.machines.create("peer-spec", spec=spec)
    try:
        assert made.spec == made.created_spec == spec.resolve()
        assert (made.resources.vcpu, made.resources.memory_bytes) == (1, 1 << 30)
        assert made.labels == {"team": "eng"}
        packages = packages_of(client, made, "done", "done", "failed", "pending")
        assert [package.exit_code for package in packages] == [0, 0, 1, None]
        assert packages[2].output_tail == "red [secret PEER_TOKEN]\n"
        assert packages[1].started_at <= packages[1].finished_at
        run = lambda *argv: client.machines.exec(made.id, list(argv)).stdout
        assert run("/opt/peer-probe") == "probed\n"
        assert run("sh", "-c", "echo $COLOUR; ls /srv/never 2>&1").startswith("red\nls:")
        log = client.machines.files.download(made.id, "/var/log/boxd/packages.log").decode()
        assert "Setting up peer-probe (1)" in log and "red swordfish" in log
        (listed,) = [one for one in client.machines.list() if one.id == made.id]
        assert listed.packages[2].output_tail == ""

        update = client.machines.update_spec
        diff = update(made.id, {"size": "2x1", "env": {"COLOUR": "blue"}}, dry_run=True)
        assert [(change.field, change.apply) for change in diff.changes] == [
            ("size", "reboot"), ("env", "reboot_recommended")]
        assert diff.reboot_required and not diff.applied
        with pytest.raises(boxd.ConflictError):
            update(made.id, {"size": "2x1"})
        assert client.machines.get(made.id).spec == spec.resolve()
        done = update(made.id, {"env": {"COLOUR": "blue"}, "labels": {"team": None, "x": "y"}})
        assert done.applied and not done.rebooted
        assert run("sh", "-c", "echo $COLOUR") == "blue\n"
        assert client.machines.get(made.id).labels == {"x": "y"}
        # What stopped the rest is taken out, and the rest runs.
        commands = client.machines.get(made.id).spec["packages"]
        done = update(made.id, lambda s: s.packages("touch /srv/added"))
        assert done.changes[0].added == ["touch /srv/added"]
        done = update(made.id, {"packages": commands[:2] + commands[3:] + ["touch /srv/added"]})
        assert done.changes[0].skipped == [commands[2]]
        packages_of(client, made, "done", "done", "skipped", "done", "done")
        assert run("ls", "/srv/never", "/srv/added") == "/srv/added\n/srv/never\n"
        with pytest.raises(boxd.ConflictError) as stale:
            update(made.id, {"labels": {"x": "z"}}, expected_spec=spec.resolve())
        assert stale.value.code == "aborted"
        assert update(made.id, {"size": "2x1"}, reboot=True).rebooted
        assert client.machines.get(made.id).resources.vcpu == 2
        for field, patch in (("isolated", {"isolated": True}), ("size", {"size": "huge"}),
                             ("agents", {"agents": ["claude"]}), ("egress", {"egress": ["-"]})):
            with pytest.raises(boxd.APIStatusError, match=field):
                update(made.id, patch)
    finally:
        client.machines.delete(made.id)
        client.secrets.delete("PEER_TOKEN")


def test_packages_that_cannot_be_had_fail_and_a_retry_runs_them_again(client):
    spec = boxd.Machine.spec().egress("192.0.2.1").packages(
        "echo begun >> /srv/count; test -e /srv/repaired", "echo after >> /srv/count")
    made = client.machines.create("peer-retry", spec=spec)
    try:
        packages_of(client, made, "failed", "pending")
        assert client.machines.get(made.id).status == "running"
        client.machines.exec(made.id, ["touch", "/srv/repaired"])
        again = client.machines.update_spec(made.id, {}, retry_packages=True)
        assert again.changes[0].changed == spec.resolve()["packages"]
        packages_of(client, made, "done", "done")
        count = client.machines.exec(made.id, ["cat", "/srv/count"]).stdout
        assert count == "begun\nbegun\nafter\n"
        source = "echo 'deb [trusted=yes] http://192.0.2.7/ ./' > /srv/none.list"
        install = f"{APT}=/srv/none.list update; {APT}=/srv/none.list install peer-nothing"
        client.machines.update_spec(made.id, lambda s: s.packages(source, install))
        failed = packages_of(client, made, "done", "done", "done", "failed")[3]
        assert failed.exit_code == 100 and "connect to 192.0.2.7" in failed.output_tail
    finally:
        client.machines.delete(made.id)
    with pytest.raises(boxd.NotFoundError, match="secret"):
        client.machines.create(spec=boxd.Machine.spec().with_(boxd.secrets("NOBODY_HAS")))
    with pytest.raises(boxd.APIStatusError, match="spec.base"):
        client.machines.create(spec=boxd.Machine.spec().from_(boxd.team("eng")))
