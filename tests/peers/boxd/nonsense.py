"""Bad input of every kind, for every call: the answer is clear, nothing that was refused was done, and
the server keeps nothing of it: no process, file, slot, descriptor or memory."""

import collections
import os
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

import wire
from apart import CLEAN, SERVICE, other, owner, user_set  # noqa: F401

# What ends or stops a box whatever else is asked: each of these has a box for itself.
HARMFUL = ["DestroyVm", "StopVm", "RebootVm", "HibernateVm", "SuspendVm", "SetDeleteAfter"]
# What makes a box: when it is refused, there is none.
MAKES = {"CreateVm", "ForkVm", "CreateVmFromSnapshot", "CreateVmFromTemplate"}
UNKNOWN = wire.piece(2000, b"what no release has")


def ask(caller, call, *messages):
    """The code, and what was said, of a call whose messages are bytes."""
    stub = caller.channel.stream_stream(f"/{SERVICE.full_name}/{call}")
    try:
        for _ in stub(iter(messages), metadata=caller.metadata, timeout=20):
            pass
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as refused:
        return refused.code(), refused.details()


def until(what, done):
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


def boxes(caller):
    return {one.vm_id for one in caller.get("ListVms").vms}


@pytest.fixture
def box(other):
    made = other.get("CreateVm", name="peer-nonsense").vm_id
    yield made
    for left in boxes(other):
        other.get("DestroyVm", vm_id=left)
    for left in other.get("ListDisks").disks:
        other.get("DestroyDisk", disk_id=left.disk_id)
    for left in other.get("ListSnapshots").snapshots:
        other.get("DeleteSnapshot", name=left.name)


def test_what_is_not_text_is_the_callers_mistake(other, box):
    asked = 0
    for call, message in wire.CALLS.items():
        for where, bad in wire.not_text(message):
            code, said = ask(other, call, wire.sensible(call, box) + bad)
            if code == grpc.StatusCode.UNIMPLEMENTED:
                break
            assert code == grpc.StatusCode.INVALID_ARGUMENT, f"{call}({where}): {code} {said}"
            asked += 1
    assert asked > 150, asked
    assert boxes(other) == {box}
    assert other.get("GetVm", vm_id=box).status == "running"


def every_nonsense(other, box):
    """How many calls were asked what nobody means."""
    asked = 0
    for call, message in wire.CALLS.items():
        if call in HARMFUL:
            continue
        # A timer that makes sense would be one that acts on the box.
        sense = wire.sensible(call, box, timeout_secs=0)
        before = boxes(other)
        for where, bad in [("unknown", UNKNOWN), *wire.nonsense(message)]:
            if where == "follow":
                # Whatever number is true, and that waits for the box to stop.
                continue
            code, said = ask(other, call, sense + bad)
            assert code in CLEAN, f"{call}({where}): {code} {said}\n{bad[:100]}"
            if code == grpc.StatusCode.UNIMPLEMENTED and "does not offer" in said:
                break
            asked += 1
            if call in MAKES:
                made = boxes(other) - before
                assert not made or code == grpc.StatusCode.OK, f"{call}({where}): {code} {said}"
                for one in made:
                    other.get("DestroyVm", vm_id=one)
    assert box in boxes(other)
    assert other.get("DownloadFile", vm_id=box, path="/etc/hostname").data
    return asked


def test_nonsense_at_any_depth_leaves_nothing_behind(other, box):
    # The first time fills what is kept for good: the pools and caches, the free memory of the allocator.
    asked = every_nonsense(other, box)
    assert asked > 1000, asked
    open_before, before = wire.descriptors(), wire.memory()
    every_nonsense(other, box)
    until("it lets go of descriptors", lambda: wire.descriptors() <= open_before)
    after = wire.memory()
    print(f"{asked} calls, {open_before} descriptors, {before} KiB, then {after} KiB")
    # Over 250 calls bring 1 MiB each: one of them kept in sixteen is more than this. What is allowed is
    # what the allocator holds on to.
    assert after < before + 16 * 1024, f"{before} KiB after {asked} calls, {after} KiB after twice"


def test_what_stops_a_box_does_so_or_leaves_it_as_it_is(other, box):
    other.get("DestroyVm", vm_id=box)
    for call in HARMFUL:
        mine, states = None, collections.Counter()
        for where, bad in [("unknown", UNKNOWN), *wire.nonsense(wire.CALLS[call])]:
            if mine is None:
                mine = other.get("CreateVm", name="peer-harmed").vm_id
            sense = wire.sensible(call, mine, delete_after_secs=3600)
            code, said = ask(other, call, sense + bad)
            assert code in CLEAN, f"{call}({where}): {code} {said}"
            state = other.get("GetVm", vm_id=mine).status if mine in boxes(other) else "gone"
            if code != grpc.StatusCode.OK:
                assert state == "running", f"{call}({where}) was refused ({code} {said}): {state}"
            states[state] += 1
            if state != "running":
                mine = other.get("DestroyVm", vm_id=mine) if state != "gone" else None
                mine = None
        expected = {"DestroyVm": "gone", "StopVm": "stopped", "SuspendVm": "suspended"}
        assert states[expected.get(call, "running")], f"{call}: {states}"
        if mine in boxes(other):
            other.get("DestroyVm", vm_id=mine)


def says(other, box, command):
    chunks = other.get("Exec", vm_id=box, command=command)
    return b"".join(one.data for one in chunks).decode()


def begin(caller, call, *messages):
    """A call that has sent these messages, and has not ended its side. Returned when it is answered."""
    def sent():
        yield from messages
        while not ended.is_set():
            ended.wait(1)

    ended = threading.Event()
    stub = caller.channel.stream_stream(f"/{SERVICE.full_name}/{call}")
    begun = stub(sent(), metadata=caller.metadata, timeout=60)
    begun.add_callback(ended.set)
    return begun


STREAMS = ["Exec", "UploadFileStream", "BoxherdDial"]


@pytest.mark.parametrize("call", STREAMS)
def test_a_stream_that_begins_with_nothing_or_garbage_is_refused(other, box, call):
    for messages in ([], [b""], [b"\xff\xff\xff"], [wire.NOT_TEXT * 100]):
        code, said = ask(other, call, *messages)
        assert code == grpc.StatusCode.INVALID_ARGUMENT, f"{messages}: {code} {said}"


def test_a_command_whose_call_is_gone_is_gone(other, box):
    runs = "grep -zxcs 777[7] /proc/[0-9]*/cmdline | grep -vc ':0$'"
    user_set("--execs", "1")
    try:
        asked = wire.sensible("Exec", box, command="echo begun; sleep 7777")
        for ending in ("cancelled", "garbage"):
            begun = begin(other, "Exec", *([asked] if ending == "cancelled" else [asked, b"\xff"]))
            if ending == "cancelled":
                assert b"begun" in next(begun)
                begun.cancel()
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    list(begun)
                assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, refused.value
            free = lambda: ask(other, "Exec", wire.sensible("Exec", box))[0] == grpc.StatusCode.OK
            until("the slot is free", free)
            until("the command is gone", lambda: says(other, box, runs).strip() == "0")
    finally:
        user_set("--execs", "none")


UPLOAD = """
import os, sys, time, grpc
channel = grpc.insecure_channel(sys.argv[1])
def pieces():
    yield bytes.fromhex(sys.argv[4])
    print("sent", flush=True)
    time.sleep(1000)
stub = channel.stream_stream(sys.argv[2])
list(stub(pieces(), metadata=[("authorization", sys.argv[3])]))
"""


def test_an_upload_that_stops_half_way_leaves_what_was_there(other, box):
    other.get("UploadFile", vm_id=box, path="/root/up/x", data=b"before")
    descriptors = wire.descriptors()
    half = wire.sensible("UploadFileStream", box, path="/root/up/x", total_size=1000)
    assert ask(other, "UploadFileStream", half)[0] == grpc.StatusCode.INVALID_ARGUMENT
    code, said = ask(other, "UploadFileStream", half, b"\xff\xff")
    assert code == grpc.StatusCode.INVALID_ARGUMENT, said
    begun = begin(other, "UploadFileStream", half)
    half_there = lambda: len(says(other, box, "ls -A /root/up").split()) > 1
    until("it is being written", half_there)
    begun.cancel()
    # A client that dies, and its connection with it.
    program = subprocess.Popen(
        [sys.executable, "-c", UPLOAD, os.environ["BOXD_BASE_URL"].removeprefix("http://"),
         f"/{SERVICE.full_name}/UploadFileStream", other.metadata[0][1], half.hex()],
        stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"sent\n"
    until("it is being written", half_there)
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    until("no torn file", lambda: says(other, box, "ls -A /root/up").split() == ["x"])
    assert other.get("DownloadFile", vm_id=box, path="/root/up/x").data == b"before"
    until("it lets go of descriptors", lambda: wire.descriptors() <= descriptors)


LISTENS = """
import socket
listens = socket.create_server(("127.0.0.1", 8123))
print(1, flush=True)
while True:
    taken, _ = listens.accept()
    taken.send(b"hi")
    taken.recv(9)
"""


def test_what_is_followed_or_dialled_is_let_go_of(other, box):
    served = f"python3 -c '{LISTENS}'"
    server = begin(other, "Exec", wire.sensible("Exec", box, command=served))
    next(server)
    descriptors = wire.descriptors()
    for _ in range(20):
        logs = begin(other, "StreamLogs", wire.sensible("StreamLogs", box) + wire.whole(2, 1))
        dialled = begin(other, "BoxherdDial", wire.sensible("BoxherdDial", box, port=8123))
        assert b"hi" in next(dialled)
        dialled.cancel()
        logs.cancel()
    code, said = ask(other, "BoxherdDial", wire.sensible("BoxherdDial", box, port=8123), b"\xff")
    assert code == grpc.StatusCode.INVALID_ARGUMENT, f"{code} {said}"
    until("it lets go of descriptors", lambda: wire.descriptors() <= descriptors)
    server.cancel()


def test_what_else_another_user_has_is_not_found(other, owner):
    made = owner.get("CreateVm", name="peer-owned").vm_id
    try:
        owner.get("CreateSnapshot", vm=made, name="peer-saved")
        owner.get("AddCustomDomain", vm_id=made, domain="owned.example.com")
        key = owner.get("CreateApiKey", name="peer-key").id
        owner.get("CreateToken", expires_in_secs=3600)
        token = wire.piece(1, owner.get("ListTokens").tokens[0].jti.encode())
        template = wire.piece(1, b"peer-template")
        assert ask(owner, "CreateTemplate", template)[0] == grpc.StatusCode.OK
        network = wire.piece(1, b"peer-owned-net")
        made_it = (grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS)
        assert ask(owner, "CreateNetwork", network)[0] in made_it
        domain = wire.piece(1, b"owned.example.com")
        saved = wire.piece(1, b"peer-saved")
        for call, asked in (("GetSnapshot", saved), ("DeleteSnapshot", saved),
                            ("CreateVmFromSnapshot", saved), ("RemoveCustomDomain", domain),
                            ("UnbindDomain", domain), ("DeleteApiKey", wire.piece(1, key.encode())),
                            ("RevokeToken", token), ("DeleteTemplate", template),
                            ("CreateVmFromTemplate", template),
                            ("CreateVm", wire.piece(11, b"peer-owned-net"))):
            code, said = ask(other, call, asked)
            assert code == grpc.StatusCode.NOT_FOUND, f"{call}: {code} {said}"
        assert "peer-saved" in [one.name for one in owner.get("ListSnapshots").snapshots]
        assert owner.get("ListCustomDomains").domains
        assert key in [one.id for one in owner.get("ListApiKeys").keys]
        # They are there, by these names, for whom they belong to.
        assert ask(owner, "DeleteTemplate", template)[0] == grpc.StatusCode.OK
        in_it = owner.get("CreateVm", name="peer-in-net", networks=["peer-owned-net"]).vm_id
        owner.get("DestroyVm", vm_id=in_it)
        assert not boxes(other)
    finally:
        for left in owner.get("ListSnapshots").snapshots:
            owner.get("DeleteSnapshot", name=left.name)
        owner.get("DestroyVm", vm_id=made)
