"""Every RPC, from the descriptors of 0.2.19 and so with none left out: asked by a user who does not
own the box, and asked for nonsense.

`BOXHERD_OTHER_KEY` is the key of a second user.
"""

import json
import os
import pathlib
import re
import subprocess
import time
import urllib.request

import grpc
import pytest

from boxd._generated import api_pb2 as api
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message_factory import GetMessageClass

SERVICE = api.DESCRIPTOR.services_by_name["BoxdApi"]
URL = os.environ["BOXD_BASE_URL"]
BOX_FIELDS = ("vm_id", "vm", "source_vm_id", "vm_name")
# What makes sense, so that nothing but the box can be the reason of a refusal.
SENSE = {
    "path": "/root/x",
    "mount_path": "/mnt",
    "size_bytes": 16 << 20,
    "old_path": "/root/x",
    "new_path": "/root/y",
    "name": "some-name",
    "new_name": "stolen",
    "command": "true",
    "domain": "app.example.com",
    "protocol": "tcp",
    "enabled": True,
    "port": "80",
    "vcpu": 1,
    "timeout_secs": 1,
    "delete_after_secs": 1,
    "total_size": 1,
    "data": b"x",
}
CLEAN = {
    grpc.StatusCode.OK,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
}


class Caller:
    """A user, as its token."""

    def __init__(self, key):
        body = json.dumps({"api_key": key}).encode()
        asked = urllib.request.Request(
            f"{URL}/api/v1/auth/token", body, {"Content-Type": "application/json"}
        )
        token = json.load(urllib.request.urlopen(asked))["token"]
        self.metadata = [("authorization", f"Bearer {token}")]
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(URL.removeprefix("http://"), options)

    def call(self, method, request):
        """The answer, the first one of a stream; raises what is refused."""
        path = f"/{SERVICE.full_name}/{method.name}"
        answer = GetMessageClass(method.output_type).FromString
        kind = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, False): self.channel.stream_unary,
            (True, True): self.channel.stream_stream,
        }[method.client_streaming, method.server_streaming]
        stub = kind(path, request_serializer=type(request).SerializeToString,
                    response_deserializer=answer)
        asked = iter([request]) if method.client_streaming else request
        told = stub(asked, metadata=self.metadata, timeout=60)
        return list(told) if method.server_streaming else told

    def code(self, method, request):
        try:
            self.call(method, request)
            return grpc.StatusCode.OK, ""
        except grpc.RpcError as refused:
            return refused.code(), refused.details()

    def get(self, rpc, /, **fields):
        method = SERVICE.methods_by_name[rpc]
        return self.call(method, GetMessageClass(method.input_type)(**fields))


@pytest.fixture(scope="module")
def owner():
    return Caller(os.environ["BOXD_API_KEY"])


@pytest.fixture(scope="module")
def other():
    return Caller(os.environ["BOXHERD_OTHER_KEY"])


def box_fields(method):
    return [field for field in BOX_FIELDS if field in method.input_type.fields_by_name]


def sensible(method):
    request = GetMessageClass(method.input_type)()
    for name, value in SENSE.items():
        field = method.input_type.fields_by_name.get(name)
        if field is None or field.is_repeated or field.type == Field.TYPE_MESSAGE:
            continue
        if field.type == Field.TYPE_STRING or field.type == Field.TYPE_BYTES:
            setattr(request, name, value if isinstance(value, bytes) else str(value))
        else:
            setattr(request, name, type(getattr(request, name))(int(value)))
    return request


def test_another_users_box_is_not_found_by_any_rpc(owner, other):
    made = owner.get("CreateVm", name="peer-owned")
    try:
        owner.get("UploadFile", vm_id=made.vm_id, path="/root/x", data=b"mine")
        owner.get("CreateCheckpoint", vm=made.vm_id, name="some-name")

        def truth():
            box = json_format.MessageToDict(owner.get("GetVm", vm_id=made.vm_id))
            checkpoints = owner.get("ListCheckpoints", vm=made.vm_id).checkpoints
            files = owner.get("ListDir", vm_id=made.vm_id, path="/root").entries
            data = owner.get("DownloadFile", vm_id=made.vm_id, path="/root/x").data
            return box, [one.name for one in checkpoints], [one.name for one in files], data

        before, served = truth(), set()
        for method in SERVICE.methods:
            for field in box_fields(method):
                for name in (made.vm_id, "peer-owned", "local:peer-owned", f"local:{made.vm_id}"):
                    request = sensible(method)
                    setattr(request, field, name)
                    code, said = other.code(method, request)
                    if code == grpc.StatusCode.UNIMPLEMENTED:
                        continue
                    served.add(method.name)
                    refused = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
                    # Where there are two fields for a box, one of them alone may be no way to say it.
                    allowed = refused if len(box_fields(method)) > 1 else refused[:1]
                    assert code in allowed, f"{method.name}({field}={name}): {code} {said}"
        assert len(served) >= 30, served
        assert truth() == before
        assert made.vm_id not in [one.vm_id for one in other.get("ListVms").vms]
    finally:
        owner.get("DestroyVm", vm_id=made.vm_id)


NUMBERS = {
    Field.TYPE_UINT32: [2**32 - 1],
    Field.TYPE_UINT64: [2**64 - 1],
    Field.TYPE_INT32: [-1, -(2**31)],
    Field.TYPE_INT64: [-1, -(2**63), 2**63 - 1],
}
TEXTS = ["x" * (1 << 20), "a\0b", "../../etc/passwd", "-rf", "\u202e\U0001f4a9", "a b'\"$(id)"]


def nonsense(method, box):
    """Nothing at all, and each field in turn with what nobody means, of the box `box` or none."""
    kind = GetMessageClass(method.input_type)
    yield kind()
    for field in method.input_type.fields:
        if field.is_repeated and field.type != Field.TYPE_STRING:
            continue
        values = TEXTS if field.type == Field.TYPE_STRING else NUMBERS.get(field.type, [])
        for value in values:
            request = sensible(method)
            for own in box_fields(method):
                setattr(request, own, box)
            if field.is_repeated:
                getattr(request, field.name).append(value)
            else:
                setattr(request, field.name, value)
            yield request


def test_nonsense_is_refused_and_the_server_goes_on(other):
    # What ends or stops a box whatever else is asked: the empty request only.
    harmful = {"DestroyVm", "StopVm", "RebootVm", "HibernateVm", "SuspendVm", "SetDeleteAfter"}
    box = other.get("CreateVm", name="peer-nonsense").vm_id
    try:
        for method in SERVICE.methods:
            for request in nonsense(method, "" if method.name in harmful else box):
                code, said = other.code(method, request)
                assert code in CLEAN, f"{method.name}: {code} {said}\n{str(request)[:400]}"
                if code == grpc.StatusCode.UNIMPLEMENTED:
                    break
        assert other.get("GetVm", vm_id=box).status == "running"
        told = other.get("DownloadFile", vm_id=box, path="/etc/hostname")
        assert told.data
    finally:
        for left in other.get("ListVms").vms:
            other.get("DestroyVm", vm_id=left.vm_id)
        for left in other.get("ListDisks").disks:
            other.get("DestroyDisk", disk_id=left.disk_id)


def test_another_users_disk_is_not_found_by_any_rpc(owner, other):
    disk = owner.get("CreateDisk", name="peer-mine", size_bytes=16 << 20).disk_id
    box = other.get("CreateVm", name="peer-thief").vm_id
    try:
        assert disk not in [one.disk_id for one in other.get("ListDisks").disks]
        for name in (disk, "peer-mine"):
            volume = {"disk_id": name, "mount_path": "/mnt"}
            config = api.VmConfig(volumes=[api.VolumeMount(**volume)])
            for rpc, fields in (
                ("AttachDisk", {"vm_id": box, **volume}),
                ("DetachDisk", {"vm_id": box, "disk_id": name}),
                ("DestroyDisk", {"disk_id": name}),
                ("CreateVm", {"name": "peer-thief-too", "config": config}),
            ):
                with pytest.raises(grpc.RpcError) as refused:
                    other.get(rpc, **fields)
                assert refused.value.code() == grpc.StatusCode.NOT_FOUND, rpc
        assert [one.name for one in other.get("ListVms").vms] == ["peer-thief"]
        assert [one.status for one in owner.get("ListDisks").disks] == ["ready"]
    finally:
        other.get("DestroyVm", vm_id=box)
        owner.get("DestroyDisk", disk_id=disk)


def boxherd(*words):
    program = [os.environ["BOXHERD_BIN"], "--data", os.environ["BOXHERD_DATA"]]
    done = subprocess.run([*program, *words], check=True, capture_output=True, text=True)
    return done.stdout


def user_set(*quota):
    boxherd("user", "set", "other", *quota)


# Every RPC that names a box, in an order in which each makes sense, and what it is asked besides.
LONG = {"timeout_secs": 3600}
CHECKPOINT = {"name": "some-name"}
GRANTED = [
    ("GetVm", {}), ("GetVmUsage", {}), ("StreamLogs", {}), ("Exec", {"command": "true"}),
    ("UploadFile", {"path": "/root/x", "data": b"x"}),
    ("UploadFileStream", {"path": "/root/y", "data": b"y", "total_size": 1}),
    ("DownloadFile", {"path": "/root/x"}), ("DownloadFileStream", {"path": "/root/x"}),
    ("ListDir", {"path": "/root"}), ("Mkdir", {"path": "/root/d"}),
    ("CopyPath", {"old_path": "/root/x", "new_path": "/root/z"}),
    ("RenamePath", {"old_path": "/root/z", "new_path": "/root/w"}),
    ("DeletePath", {"path": "/root/w"}), ("UpdateVmLabels", {"set": {"a": "b"}}),
    ("SetAutoSuspendTimeout", LONG), ("SetAutoHibernateTimeout", LONG),
    ("SetDeleteAfter", {"delete_after_secs": 10_000}), ("SetIdleIgnoreOutbound", {"enabled": True}),
    ("CreateCheckpoint", CHECKPOINT), ("ListCheckpoints", {}), ("RestoreCheckpoint", CHECKPOINT),
    ("DeleteCheckpoint", CHECKPOINT), ("CreateSnapshot", {"name": "NAME-saved"}),
    ("ForkVm", {"name": "NAME-fork"}), ("CreateProxy", {"name": "web", "port": 80}),
    ("ListProxies", {}), ("SetProxyPort", {"name": "web", "port": "81"}),
    ("DeleteProxy", {"name": "web"}), ("ExposePort", {"vm_port": 80, "protocol": "tcp"}),
    ("ListExposedPorts", {}), ("UnexposePort", {"vm_port": 80}),
    ("AddCustomDomain", {"domain": "NAME.example.com"}),
    ("AttachDisk", {"disk_id": "NAME-disk", "mount_path": "/mnt"}),
    ("DetachDisk", {"disk_id": "NAME-disk"}),
    ("UpdateMachineSpec", {"patch": '{"labels": {"c": "d"}}'}), ("ResizeVm", {"vcpu": 1}),
    ("SuspendVm", {}), ("ResumeVm", {}), ("HibernateVm", {}), ("WakeVm", {}), ("StopVm", {}),
    ("SetVmNetworks", {"networks": ["NAME-net"]}), ("SetVmEgressAllow", {"entries": ["192.0.2.1"]}),
    ("StartVm", {}), ("RebootVm", {}), ("RenameVm", {"new_name": "NAME-renamed"}), ("DestroyVm", {}),
]
# What this server, or a box of this kind, does not offer to anybody.
OFFERED_TO_NOBODY = {"ExposePort", "UnexposePort", "HibernateVm"}


def rpcs_that_name_a_box(caller):
    """Those that are served: from the descriptors of the SDK, and checked against our own file."""
    text = (pathlib.Path(__file__).parents[3] / "proto/boxd.proto").read_text()
    inputs = dict(re.findall(r"rpc (\w+)\((?:stream )?(\w+)\)", text))
    bodies = dict(re.findall(r"^message (\w+) \{(.*?)^\}", text, re.S | re.M))
    named = re.compile(r"^\s*string (?:%s) = " % "|".join(BOX_FIELDS), re.M)
    ours = {rpc for rpc, kind in inputs.items() if named.search(bodies[kind])}
    described = {method.name for method in SERVICE.methods if box_fields(method)}
    # The first is gone from the SDK before 0.2. The second is ours and not in its descriptors: the SDK for
    # Rust tries it without and with a grant (`crates/cli/tests/client/ports.rs`).
    assert ours - described == {"BindDomain", "BoxherdDial"}, ours ^ described
    served = set()
    for method in SERVICE.methods:
        if method.name in described:
            code, _ = caller.code(method, sensible(method))
            served |= {method.name} if code != grpc.StatusCode.UNIMPLEMENTED else set()
    return served


def step(caller, rpc, fields, box, name):
    """The code of a call about `box`; `NAME` among what it is asked is `name`."""
    method = SERVICE.methods_by_name[rpc]
    request = GetMessageClass(method.input_type)()
    for field, value in fields.items():
        own = lambda text: text.replace("NAME", name) if isinstance(text, str) else text
        if isinstance(value, dict):
            getattr(request, field).update(value)
        elif isinstance(value, list):
            getattr(request, field).extend(map(own, value))
        else:
            setattr(request, field, own(value))
    # Where a box has two fields, the newer one.
    field = "vm" if "vm" in box_fields(method) else box_fields(method)[0]
    setattr(request, field, box)
    return caller.code(method, request)


def bind_domain(caller, box):
    """`BindDomainRequest {domain = 1, vm_id = 2}`, which the SDK no longer knows."""
    text = lambda number, value: bytes([number << 3 | 2, len(value)]) + value.encode()
    stub = caller.channel.unary_unary(f"/{SERVICE.full_name}/BindDomain")
    try:
        stub(text(1, "bound.example.com") + text(2, box), metadata=caller.metadata, timeout=60)
        return grpc.StatusCode.OK
    except grpc.RpcError as refused:
        return refused.code()


@pytest.mark.parametrize("place", ["local", "local/admin"])
def test_a_grant_lets_a_user_do_with_a_box_what_its_owner_does(owner, other, place):
    spec = api.MachineSpec(labels={"made": "from-a-spec"})
    boxes = {}
    try:
        for name in ("peer-granted", "peer-twin"):
            boxes[name] = owner.get("CreateVm", name=name, spec=spec).vm_id
            owner.get("CreateDisk", name=f"{name}-disk", size_bytes=16 << 20)
            # Networks stay: there is no call that removes one.
            net = {"name": f"{name}-net"}
            code, said = owner.code(SERVICE.methods_by_name["CreateNetwork"],
                                    api.CreateNetworkRequest(**net))
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS), said
        missing = rpcs_that_name_a_box(owner) - {rpc for rpc, _ in GRANTED}
        assert not missing, f"no row for {missing}"
        state = lambda: owner.get("GetVm", vm_id=boxes["peer-granted"])
        before = state()
        for rpc, fields in GRANTED:
            for address in ("local:peer-granted", f"local:{boxes['peer-granted']}"):
                code, said = step(other, rpc, fields, address, "peer-granted")
                # What nobody is offered is refused before a box is looked for.
                offered = "offers no" not in said or rpc not in OFFERED_TO_NOBODY
                assert code == grpc.StatusCode.NOT_FOUND or not offered, f"{rpc}: {code} {said}"
        assert bind_domain(other, "local:peer-granted") == grpc.StatusCode.NOT_FOUND
        assert state() == before
        boxherd("user", "grant", "other", place)
        assert boxherd("user", "grants", "other", "-o", "name").split() == [place]
        assert boxes["peer-granted"] not in [one.vm_id for one in other.get("ListVms").vms]
        # Only by the name of its engine: everything else means boxes of one's own.
        for address in ("peer-granted", boxes["peer-granted"]):
            assert step(other, "GetVm", {}, address, "")[0] == grpc.StatusCode.NOT_FOUND
        assert bind_domain(other, "local:peer-granted") == grpc.StatusCode.OK
        owner.get("RemoveCustomDomain", domain="bound.example.com")
        for rpc, fields in GRANTED:
            granted = f"local:{boxes['peer-granted']}" if rpc == "DestroyVm" else "local:peer-granted"
            told = step(other, rpc, fields, granted, "peer-granted")
            twin = boxes["peer-twin"]
            assert told[0] == step(owner, rpc, fields, twin, "peer-twin")[0], f"{rpc}: {told}"
            assert told[0] == grpc.StatusCode.OK or rpc in OFFERED_TO_NOBODY, f"{rpc}: {told}"
        # What it made of the box is the owner's.
        fork = owner.get("GetVm", vm_id="peer-granted-fork").vm_id
        assert not other.get("ListVms").vms and not other.get("ListSnapshots").snapshots
        assert step(other, "GetVm", {}, "local:peer-granted-fork", "")[0] == grpc.StatusCode.OK
        boxherd("user", "revoke", "other", place)
        gone = step(other, "GetVm", {}, f"local:{fork}", "")
        assert gone[0] == grpc.StatusCode.NOT_FOUND
        log = [json.loads(line) for line in open(f"{os.environ['BOXHERD_DATA']}/audit.jsonl")]
        assert {"grant.add", "grant.rm"} <= {entry["action"] for entry in log}
        (deleted,) = [entry for entry in log if (entry["action"], entry["outcome"]) == ("delete", "ok")
                      and entry["detail"].startswith(f"local:{boxes['peer-granted']}")]
        assert deleted["detail"].endswith(" (by a grant)")
        me = other.get("Whoami").user_id
        assert deleted["user"] == me
    finally:
        boxherd("user", "grant", "other", place)
        boxherd("user", "revoke", "other", place)
        for saved in owner.get("ListSnapshots").snapshots:
            owner.get("DeleteSnapshot", name=saved.name)
        for left in owner.get("ListVms").vms:
            owner.get("DestroyVm", vm_id=left.vm_id)
        for left in owner.get("ListDisks").disks:
            owner.get("DestroyDisk", disk_id=left.disk_id)


def quota_of(caller, rpc, **fields):
    with pytest.raises(grpc.RpcError) as refused:
        caller.get(rpc, **fields)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value
    return refused.value.details()


def test_a_user_has_no_more_than_the_quota_says(other):
    memory = {"config": {"memory_bytes": 300 << 20}}
    user_set("--boxes", "2", "--memory", "512MiB", "--execs", "1")
    try:
        box = other.get("CreateVm", **memory).vm_id
        assert "quota of memory" in quota_of(other, "CreateVm", **memory)
        # A box that names no limit has one: the quota, as it is below 1 GiB.
        assert "quota of memory" in quota_of(other, "CreateVm")
        other.get("CreateVm", config={"memory_bytes": 200 << 20})
        assert "quota of boxes" in quota_of(other, "CreateVm", config={"memory_bytes": 1 << 20})
        assert "quota of boxes" in quota_of(other, "ForkVm", source_vm_id=box)
        assert "quota of memory" in quota_of(other, "ResizeVm", vm_id=box, memory_bytes=600 << 20)
        stub = other.channel.stream_stream(
            f"/{SERVICE.full_name}/Exec", request_serializer=api.ExecChunk.SerializeToString,
            response_deserializer=api.ExecChunk.FromString)
        begun = stub(iter([api.ExecChunk(vm_id=box, command="echo x; sleep 60")]),
                     metadata=other.metadata)
        assert next(begun).data == b"x\n"
        assert "quota of execs is used up: 1" in quota_of(other, "Exec", vm_id=box, command="true")
        begun.cancel()
        # The slot is given back when the server has seen that the call is gone.
        for _ in range(200):
            if other.code(SERVICE.methods_by_name["Exec"],
                          api.ExecChunk(vm_id=box, command="true"))[0] == grpc.StatusCode.OK:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the command still counts")
        user_set("--boxes", "none", "--memory", "none", "--execs", "none")
        # What the host does not have, no quota gives.
        much = {"config": {"memory_bytes": 1 << 50}}
        assert "memory of the host" in quota_of(other, "CreateVm", **much)
    finally:
        user_set("--boxes", "none", "--memory", "none", "--execs", "none")
        for left in other.get("ListVms").vms:
            other.get("DestroyVm", vm_id=left.vm_id)


def test_without_a_token_nothing_is_served():
    channel = grpc.insecure_channel(URL.removeprefix("http://"))
    for method in SERVICE.methods:
        if method.client_streaming or method.server_streaming:
            continue
        request = GetMessageClass(method.input_type)()
        stub = channel.unary_unary(f"/{SERVICE.full_name}/{method.name}",
                                   request_serializer=type(request).SerializeToString)
        with pytest.raises(grpc.RpcError) as refused:
            stub(request, timeout=60)
        codes = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED)
        assert refused.value.code() in codes, method.name
