"""The SDKs 0.1.0.dev2 to 0.1.9 (`Compute`, boxes as handles) against a running server.

What dev2 cannot do whatever a server answers (`box.get` and `box.list` read a field that its own
messages lack) is asserted to fail in just that way.
"""

import asyncio
import time

import pytest

import boxd
from boxd import BoxConfig, Compute, LifecycleConfig, aio

DEV2 = boxd.__version__ == "0.1.0"


def has(thing, name):
    return hasattr(thing, name)


@pytest.fixture(scope="module")
def compute():
    with Compute() as client:
        yield client


@pytest.fixture
def box(compute):
    made = compute.box.create("")
    yield made
    made.destroy()


def test_whoami_and_config(compute):
    assert compute.whoami().user_id
    assert compute.config().zone == "localhost"
    assert compute.config().default_image


def test_a_box_is_made_with_a_name_and_runs(compute):
    box = compute.box.create("peer-named")
    try:
        assert box.name == "peer-named"
        assert box.status == "running"
        assert box.public_ip
        assert box.id
        assert box.boot_time_ms is not None
    finally:
        box.destroy()


def test_exec_collects_output_and_code(box):
    done = box.exec("sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.exit_code == 3
    if DEV2:
        assert done.stdout == "out\nerr\n" or sorted(done.stdout.split()) == ["err", "out"]
        assert done.stderr == ""
    elif has(boxd.StreamWriter, "_put_resize"):
        assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert box.exec("true").success
    assert box.exec("no-such-program").exit_code == 127


def test_exec_takes_environment_and_quotes(box):
    assert box.exec("sh", "-c", "echo $A", env={"A": "b c'd"}).stdout == "b c'd\n"
    assert box.exec("printf", "%s|", "a b", "c'd", "$HOME").stdout == "a b|c'd|$HOME|"


def test_exec_with_a_terminal(box):
    done = box.exec("tty", pty=True)
    assert done.success
    assert done.stdout.startswith("/dev/pts/")


def test_exec_times_out(box):
    began = time.monotonic()
    with pytest.raises(boxd.TimeoutError):
        box.exec("sleep", "60", timeout=1)
    assert time.monotonic() - began < 20


def test_exec_streams_both_ways():
    async def run():
        async with aio.Compute() as compute:
            box = await compute.box.create("")
            try:
                proc = await box.exec("cat", stream=True)
                proc.stdin.write(b"hello\n")
                await proc.stdin.drain()
                assert await proc.stdout.read() == b"hello\n"
                proc.stdin.write_eof()
                await proc.stdin.drain()
                assert await proc.wait() == 0
            finally:
                await box.destroy()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_large_output_comes_whole(box):
    done = box.exec("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x")
    assert len(done.stdout) == 3_000_000


def test_files_go_in_and_out(box):
    data = bytes(range(256)) * 1000
    box.write_file(data, "/srv/new/folder/data")
    assert box.read_file("/srv/new/folder/data") == data
    box.write_file(b"", "/srv/empty")
    assert box.read_file("/srv/empty") == b""
    with pytest.raises(boxd.NotFoundError):
        box.read_file("/srv/missing")


def test_a_file_above_four_megabytes_goes_in(box):
    box.write_file(b"x" * 6_000_000, "/srv/large")
    assert box.exec("stat", "-c", "%s", "/srv/large").stdout == "6000000\n"


def test_suspend_and_resume(box):
    box.exec("sh", "-c", "echo kept > /dev/shm/memory")
    assert box.suspend().suspend_us > 0
    assert box.resume().resume_us > 0
    assert box.exec("cat", "/dev/shm/memory").stdout == "kept\n"


def test_a_suspended_box_wakes_for_a_command(box):
    box.suspend()
    assert box.exec("echo", "awake").stdout == "awake\n"


def test_stop_start_and_reboot_keep_the_disk(box):
    box.exec("sh", "-c", "echo kept > /srv/kept")
    box.stop()
    with pytest.raises(boxd.BoxdError):
        box.exec("true")
    box.start()
    assert box.exec("cat", "/srv/kept").stdout == "kept\n"
    box.reboot()
    assert box.exec("cat", "/srv/kept").stdout == "kept\n"


def test_what_is_destroyed_is_gone(compute):
    box = compute.box.create("")
    box.destroy()
    with pytest.raises(boxd.BoxdError):
        box.exec("true")
    with pytest.raises(boxd.BoxdError):
        box.destroy()
    if not DEV2:
        assert box.id not in [other.id for other in compute.box.list()]


def test_logs_are_what_the_program_wrote(compute):
    config = BoxConfig(cmd=["sh", "-c", "echo from the console; sleep 1000"])
    box = compute.box.create("", config=config)
    try:
        seen = b""
        deadline = time.monotonic() + 10
        while b"from the console" not in seen and time.monotonic() < deadline:
            logs = box.stream_logs()
            seen = b"".join(chunk if isinstance(chunk, bytes) else chunk.data for chunk in logs)
        assert b"from the console" in seen
    finally:
        box.destroy()


def test_sizes_environment_and_lifecycle_are_honoured(compute):
    config = BoxConfig(
        vcpu=1,
        memory="256M",
        env={"COLOUR": "red"},
        lifecycle=LifecycleConfig(auto_suspend_timeout=600, auto_destroy_timeout=3600),
    )
    box = compute.box.create("", config=config)
    try:
        assert box.exec("sh", "-c", "echo $COLOUR").stdout == "red\n"
    finally:
        box.destroy()


@pytest.mark.skipif(DEV2, reason="dev2 cannot read the answer, see below")
def test_get_by_id_and_name_list_and_fork(compute):
    box = compute.box.create("peer-source")
    try:
        assert compute.box.get(box.id).name == "peer-source"
        assert compute.box.get("peer-source").id == box.id
        assert box.id in [other.id for other in compute.box.list()]
        box.exec("sh", "-c", "echo forked > /srv/note; sync")
        fork = compute.box.fork("peer-source", "peer-copy")
        try:
            assert fork.name == "peer-copy"
            assert fork.exec("cat", "/srv/note").stdout == "forked\n"
            assert fork.exec("hostname").stdout == "peer-copy\n"
        finally:
            fork.destroy()
    finally:
        box.destroy()


@pytest.mark.skipif(not DEV2, reason="mended in 0.1.1")
def test_dev2_cannot_read_what_get_and_list_answer(compute, box):
    with pytest.raises(AttributeError, match="auto_suspend_timeout_secs"):
        compute.box.get(box.id)
    with pytest.raises(AttributeError, match="auto_suspend_timeout_secs"):
        compute.box.list()


def test_who_is_unknown_is_not_found(compute):
    for unknown in ["no-such-box", "no_such_box", "0199f0a0-0000-7000-8000-000000000000"]:
        with pytest.raises((boxd.NotFoundError, AttributeError)):
            compute.box.get(unknown)


def test_a_name_is_taken_once(compute):
    box = compute.box.create("peer-once")
    try:
        with pytest.raises(boxd.InvalidArgumentError):
            compute.box.create("peer-once")
    finally:
        box.destroy()
    compute.box.create("peer-once").destroy()


def test_names_that_are_none_are_refused(compute):
    for name in ["UPPER", "a_b", "-a", "a" * 64, "../etc"]:
        with pytest.raises(boxd.InvalidArgumentError):
            compute.box.create(name)


def test_tokens_are_made_listed_and_revoked(compute):
    made = compute.token.create(expires_in=3600) if _takes(compute.token.create, "expires_in") \
        else compute.token.create()
    assert made.token.startswith("eyJ")
    with_token(made.token)
    for token in compute.token.list():
        compute.token.revoke(token.jti)
    assert compute.token.list() == []
    with pytest.raises(boxd.AuthenticationError):
        with_token(made.token)


def _takes(function, name):
    import inspect

    return name in inspect.signature(function).parameters


def with_token(token):
    """Calls as whoever shows the token. A key from anywhere would come first in these releases."""
    import os

    key = os.environ.pop("BOXD_API_KEY")
    try:
        with Compute(token=token) as client:
            assert client.whoami().user_id
    finally:
        os.environ["BOXD_API_KEY"] = key


def test_a_wrong_key_is_refused():
    with Compute(api_key="bxd_wrong") as client:
        with pytest.raises(boxd.AuthenticationError):
            client.whoami()


def test_a_forged_token_is_refused():
    forged = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZG1pbiIsImV4cCI6OTk5OTk5OTk5OX0."
    with pytest.raises(boxd.AuthenticationError):
        with_token(forged)


def test_boxes_are_made_of_templates(compute):
    made = compute.template.create("peer-template", config=BoxConfig(vcpu=1, memory="128M"))
    try:
        listed = {one.name: one for one in compute.template.list()}
        assert listed["peer-template"].memory_bytes == 128 << 20
        box = compute.template.create_vm(made, "peer-of-template")
        try:
            assert box.name == "peer-of-template"
            assert box.exec("true").success
        finally:
            box.destroy()
        with pytest.raises(boxd.InvalidArgumentError):
            compute.template.create("peer-template")
    finally:
        compute.template.delete(made.id)
    with pytest.raises(boxd.NotFoundError):
        compute.template.delete(made.id)


def test_proxies_lead_to_ports(compute):
    box = compute.box.create("peer-proxied")
    try:
        (default,) = box.proxies()
        assert (default.name, default.domain, default.port, default.is_default) == (
            "",
            "peer-proxied.localhost",
            8000,
            True,
        )
        made = box.create_proxy("api", 3000)
        assert (made.domain, made.port) == ("api.peer-proxied.localhost", 3000)
        assert made.vm_name == "peer-proxied"
        assert box.create_proxy("any").port == 0
        with pytest.raises(boxd.InvalidArgumentError):
            box.create_proxy("api", 4000)
        with pytest.raises(boxd.InvalidArgumentError):
            box.create_proxy("a.b", 4000)
        box.set_proxy_port(9000)
        box.set_proxy_port(3001, name="api")
        ports = {proxy.name: proxy.port for proxy in box.proxies()}
        assert ports == {"": 9000, "api": 3001, "any": 0}
        assert [proxy.name for proxy in box.proxies() if proxy.is_default] == [""]
        box.delete_proxy("api")
        with pytest.raises(boxd.NotFoundError):
            box.delete_proxy("api")
        with pytest.raises(boxd.NotFoundError):
            box.set_proxy_port(1, name="api")
    finally:
        box.destroy()


def test_proxies_are_made_with_a_box(compute):
    network = boxd.NetworkConfig(proxies=[boxd.ProxyEntry("api", 3000), boxd.ProxyEntry("any")])
    box = compute.box.create("", config=BoxConfig(network=network))
    try:
        ports = {proxy.name: proxy.port for proxy in box.proxies()}
        assert ports == {"": 8000, "api": 3000, "any": 0}
    finally:
        box.destroy()


def test_domains_are_bound_listed_and_unbound(compute, box):
    compute.domain.bind("peer.example.com", box)
    try:
        bound = [(domain.domain, domain.vm_id) for domain in compute.domain.list()]
        assert bound == [("peer.example.com", box.id)]
    finally:
        compute.domain.unbind("peer.example.com")
    assert compute.domain.list() == []
    with pytest.raises(boxd.NotFoundError):
        compute.domain.unbind("peer.example.com")
    with pytest.raises(boxd.InvalidArgumentError):
        compute.domain.bind("not a domain", box)


def test_a_disk_goes_from_box_to_box(compute, box):
    disk = compute.disk.create("peer-disk", "64M")
    assert (disk.name, disk.size_bytes, disk.status) == ("peer-disk", 64 << 20, "ready")
    assert disk.id in [one.id for one in compute.disk.list()]
    disk.attach(box, "/srv/data")
    box.exec("sh", "-c", "echo kept > /srv/data/file")
    with pytest.raises(boxd.BoxdError):
        disk.destroy()
    other = compute.box.create("")
    try:
        with pytest.raises(boxd.BoxdError):
            disk.attach(other, "/srv")
        box.reboot()
        assert box.exec("cat", "/srv/data/file").stdout == "kept\n"
        disk.detach(box)
        assert box.exec("ls", "/srv/data").stdout == ""
        disk.attach(other, "/mnt", read_only=True)
        assert other.exec("cat", "/mnt/file").stdout == "kept\n"
        assert other.exec("touch", "/mnt/new").exit_code != 0
    finally:
        other.destroy()
    config = BoxConfig(volumes=[boxd.VolumeMount(disk_id=disk.id, mount_path="/srv")])
    third = compute.box.create("", config=config)
    try:
        assert third.exec("cat", "/srv/file").stdout == "kept\n"
    finally:
        third.destroy()
    disk.destroy()
    assert disk.id not in [one.id for one in compute.disk.list()]
