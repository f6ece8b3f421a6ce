"""Files in real boxes."""

from __future__ import annotations

import io
import random
import time
from pathlib import Path

import pytest
from pyinfra.api.host import Host


def test_there_and_back(host: Host, tmp_path: Path) -> None:
    data = random.randbytes(3_500_000)
    (tmp_path / "here").write_bytes(data)
    assert host.put_file(str(tmp_path / "here"), "/srv/a file")
    assert host.get_file("/srv/a file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_objects_are_files_too(host: Host) -> None:
    assert host.put_file(io.StringIO("ü\n"), "/srv/text")
    got = io.BytesIO()
    assert host.get_file("/srv/text", got)
    assert got.getvalue() == "ü\n".encode()
    assert host.put_file(io.BytesIO(b""), "/srv/empty")
    assert host.run_shell_command("test -f /srv/empty && ! test -s /srv/empty")[0]


def test_owner_and_mode_stay(host: Host) -> None:
    host.put_file(io.BytesIO(b"1"), "/srv/new")
    assert host.run_shell_command("stat -c '%u %a' /srv/new")[1].stdout == "0 644"
    host.run_shell_command("echo > /srv/old; chown nobody /srv/old; chmod 710 /srv/old")
    host.put_file(io.BytesIO(b"2"), "/srv/old")
    assert host.run_shell_command("stat -c '%U %a' /srv/old")[1].stdout == "nobody 710"


def test_directories_are_refused(host: Host) -> None:
    with pytest.raises(IsADirectoryError):
        host.get_file("/etc", io.BytesIO())
    with pytest.raises(IsADirectoryError):
        host.put_file(io.BytesIO(b"x"), "/etc")


def test_what_is_not_there(host: Host, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    with pytest.raises(FileNotFoundError):
        host.get_file("/srv/nothing", str(kept))
    assert kept.read_text() == "as it was"
    with pytest.raises(FileNotFoundError):
        host.put_file(io.BytesIO(b"x" * 3_000_000), "/srv/no/such/folder")
    with pytest.raises(OSError, match="absolute"):
        host.put_file(io.BytesIO(b"x"), "relative")


def test_somebody_else_writes_and_reads(host: Host) -> None:
    host.run_shell_command("rm -rf /srv/theirs; mkdir -m 700 /srv/theirs; chown nobody /srv/theirs")
    become = {"_su_user": "nobody", "_su_shell": "sh"}
    assert host.put_file(io.BytesIO(b"by nobody"), "/srv/theirs/f", **become)
    assert host.run_shell_command("stat -c %U /srv/theirs/f")[1].stdout == "nobody"
    got = io.BytesIO()
    assert host.get_file("/srv/theirs/f", got, **become)
    assert got.getvalue() == b"by nobody"
    # Who may not, does not.
    assert not host.put_file(io.BytesIO(b"x"), "/root/f", **become)
    assert not host.get_file("/etc/shadow", io.BytesIO(), **become)
    assert host.run_shell_command("ls /tmp/pyinfra-* 2>/dev/null")[1].stdout == ""


def test_a_large_file(host: Host, tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
    begun = time.monotonic()
    host.put_file(str(tmp_path / "big"), "/srv/big")
    put = time.monotonic() - begun
    host.get_file("/srv/big", str(tmp_path / "back"))
    got = time.monotonic() - begun - put
    assert (tmp_path / "back").stat().st_size == size
    host.run_shell_command("rm /srv/big")
    print(f"64 MiB: put {64 / put:.0f} MiB/s, got {64 / got:.0f} MiB/s")
