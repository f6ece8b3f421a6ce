"""Commands in real boxes, by pyinfra's own interface."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable

import gevent
import pytest
from conftest import CROWD, PROGRAMS, Place, boxherd
from pyinfra.api import HiddenValue, State, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.facts.server import Hostname
from pyinfra.operations import server


def test_output_and_success(host: Host, place: Place) -> None:
    done, output = host.run_shell_command("echo one; echo two >&2; echo three")
    assert done
    assert output.stdout_lines == ["one", "three"]
    assert output.stderr_lines == ["two"]
    assert host.get_fact(Hostname) == place.name


def test_lines_come_in_the_order_in_which_they_were_written(host: Host) -> None:
    line = "for i in 1 2 3 4 5; do echo o$i; sleep 0.05; echo e$i >&2; sleep 0.05; done"
    _, output = host.run_shell_command(line)
    expected = [f"{stream}{i}" for i in range(1, 6) for stream in "oe"]
    assert output.output_lines == expected


def test_exit_codes(host: Host) -> None:
    assert not host.run_shell_command("exit 3")[0]
    assert host.run_shell_command("exit 3", _success_exit_codes=[0, 3])[0]
    assert not host.run_shell_command("true", _success_exit_codes=[3])[0]
    assert host.run_shell_command("kill -9 $$", _success_exit_codes=[137])[0]


def test_a_timeout_kills(host: Host) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        host.run_shell_command("echo $$ > /tmp/slow; exec sleep 4321", _timeout=1)
    assert time.monotonic() - begun < 4
    assert host.run_shell_command("test -s /tmp/slow && ! kill -0 $(cat /tmp/slow)")[0]


@pytest.mark.parametrize("given", ["a\nb", ["a", "b"], io.StringIO("a\nb\n")])
def test_input(host: Host, given: object) -> None:
    if isinstance(given, io.StringIO):
        given.seek(0)
    _, output = host.run_shell_command("cat; echo end", _stdin=given)
    assert output.stdout_lines == ["a", "b", "end"]


def test_more_input_than_a_window(host: Host) -> None:
    text = "x" * (5 << 20)
    _, output = host.run_shell_command("wc -c", _stdin=text)
    assert output.stdout_lines == [str(len(text) + 1)]


def test_input_that_nobody_reads(host: Host) -> None:
    done, output = host.run_shell_command("echo ready", _stdin="x" * (5 << 20))
    assert done and output.stdout_lines == ["ready"]


def test_more_output_than_a_window(host: Host) -> None:
    _, output = host.run_shell_command("seq 1 400000")
    assert len(output.stdout_lines) == 400000
    assert output.stdout_lines[-1] == "400000"


def test_a_terminal(host: Host) -> None:
    assert not host.run_shell_command("test -t 1")[0]
    done, output = host.run_shell_command("test -t 1 && test -t 0 && echo yes", _get_pty=True)
    assert done and output.stdout_lines == ["yes"]


def test_environment_folder_and_shell(host: Host) -> None:
    done, output = host.run_shell_command(
        'echo "$A"; pwd; echo $0', _env={"A": "it's $HOME"}, _chdir="/tmp", _shell_executable="bash"
    )
    assert done and output.stdout_lines == ["it's $HOME", "/tmp", "bash"]


def test_another_user(host: Host) -> None:
    _, output = host.run_shell_command("id -un; id -u", _su_user="nobody", _su_shell="sh")
    assert output.stdout_lines == ["nobody", "65534"]


def test_another_user_by_doas(lab_box: Place, state: Callable[..., State]) -> None:
    program = shutil.which("doas")
    if program is None:
        pytest.skip("`doas` is not installed")
    # Not of this machine's files: PAM wants to tell the audit system of the kernel.
    host = state(lab_box.host).inventory.get_host(lab_box.host)
    host.run_shell_command(f"mkdir -p {PROGRAMS}")
    host.put_file(program, f"{PROGRAMS}/doas")
    host.run_shell_command(f"chmod 4755 {PROGRAMS}/doas")
    host.put_file(io.StringIO("permit nopass root as nobody\n"), "/etc/doas.conf")
    host.run_shell_command("chmod 600 /etc/doas.conf")
    lines = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))
    host.put_file(io.StringIO(lines), "/etc/pam.d/doas")
    become = {"_doas": True, "_doas_user": "nobody"}
    done, output = host.run_shell_command("id -un", **become)
    assert done and output.stdout_lines == ["nobody"], output.stderr
    assert not host.run_shell_command("id -un", _doas=True, _doas_user="daemon")[0]
    host.run_shell_command("rm -rf /srv/doas; mkdir -m 700 /srv/doas; chown nobody /srv/doas")
    assert host.put_file(io.BytesIO(b"by doas"), "/srv/doas/f", **become)
    assert host.run_shell_command("stat -c %U /srv/doas/f")[1].stdout == "nobody"
    assert not host.put_file(io.BytesIO(b"x"), "/root/f", **become)


DZDO = """#!/bin/sh
# Takes what pyinfra gives the real one, which no distribution has.
test "$1 $2 $3" = "-H -n -u" || exit 9
user=$4
shift 4
exec setpriv --reuid "$user" --regid nogroup --clear-groups "$@"
"""


def test_another_user_by_dzdo(host: Host) -> None:
    host.run_shell_command(f"mkdir -p {PROGRAMS}")
    host.put_file(io.StringIO(DZDO), f"{PROGRAMS}/dzdo")
    host.run_shell_command(f"chmod 755 {PROGRAMS}/dzdo")
    done, output = host.run_shell_command("id -un", _dzdo=True, _dzdo_user="nobody")
    assert done and output.stdout_lines == ["nobody"], output.stderr
    host.run_shell_command(f"rm {PROGRAMS}/dzdo")


SUDO = """#!/bin/sh
# Asks as sudo does; the password is `open`.
while :; do
    case $1 in
    -H | -k) shift ;;
    -n) echo 'sudo: a password is required' >&2; exit 1 ;;
    -A) test "$("$SUDO_ASKPASS")" = open || exit 1; shift ;;
    *) break ;;
    esac
done
echo "by sudo"
exec "$@"
"""


def test_a_password_of_sudo_is_asked_for_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("pyinfra.connectors.util.getpass", lambda text: asked.append(text) or "open")
    host.run_shell_command(f"mkdir -p {PROGRAMS}")
    host.put_file(io.StringIO(SUDO), f"{PROGRAMS}/sudo")
    host.run_shell_command(f"chmod 755 {PROGRAMS}/sudo")
    for _ in range(2):
        done, output = host.run_shell_command("echo done", _sudo=True)
        assert done and output.stdout_lines == ["by sudo", "done"]
    assert len(asked) == 1
    host.run_shell_command(f"rm {PROGRAMS}/sudo")


def test_no_utf8_and_no_end_of_line(host: Host) -> None:
    _, output = host.run_shell_command(r"printf 'a\377b\nlast'")
    assert output.stdout_lines == ["a\ufffdb", "last"]


def test_output_is_shown_as_it_comes(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    running = gevent.spawn(
        host.run_shell_command, "echo early; sleep 2; echo late", print_output=True
    )
    shown = ""
    with gevent.Timeout(1.5):
        while "early" not in shown:
            gevent.sleep(0.01)
            shown += capsys.readouterr().err
    assert "late" not in shown
    running.get()
    assert f"{host.print_prefix}late" in capsys.readouterr().err


def test_what_is_hidden_is_not_shown(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    command = StringCommand("echo", HiddenValue("secret"))
    _, output = host.run_shell_command(command, print_input=True)
    assert output.stdout == "secret"
    assert "secret" not in capsys.readouterr().err


def test_a_command_that_nobody_waits_for_is_killed(host: Host) -> None:
    running = gevent.spawn(host.run_shell_command, "echo $$ > /tmp/pid; exec sleep 4322")
    while not host.run_shell_command("test -s /tmp/pid")[0]:
        assert not running.dead
    running.kill()
    line = "i=0; while kill -0 $(cat /tmp/pid); do sleep 0.1; i=$((i+1)); test $i -lt 50 || exit 1; done"
    assert host.run_shell_command(line)[0]
    host.run_shell_command("rm /tmp/pid")


def test_operations(host: Host) -> None:
    state = host.state
    result = add_op(state, server.shell, commands=["echo changed > /tmp/op"])
    run_ops(state)
    assert result[host].did_succeed()
    assert host.run_shell_command("cat /tmp/op")[1].stdout == "changed"


def test_an_operation_that_takes_too_long_fails_its_host(host: Host) -> None:
    state = host.state
    add_op(state, server.shell, commands=["sleep 60"], _timeout=1, _ignore_errors=True)
    run_ops(state)
    assert host in state.active_hosts


def test_a_box_that_goes_away_fails_its_host_only(
    boxes: Callable[[str], str], local_box: Place, state: Callable[..., State]
) -> None:
    gone = f"@boxherd/local:{boxes('local')}"
    found = state(gone, local_box.host)
    running = gevent.spawn(found.inventory.get_host(gone).run_shell_command, "sleep 60")
    gevent.sleep(0.5)
    stopping = gevent.get_hub().threadpool.spawn(boxherd, "stop", gone.removeprefix("@boxherd/"))
    with pytest.raises(OSError):
        done, _ = running.get(timeout=30)
        # It may be ended before its link is.
        if not done:
            raise OSError
    stopping.get()
    assert found.inventory.get_host(local_box.host).run_shell_command("true")[0]
    # A link that was lost is made again.
    boxherd("start", gone.removeprefix("@boxherd/"))
    assert found.inventory.get_host(gone).run_shell_command("true")[0]


def test_hosts_run_in_parallel(boxes: Callable[[str], str], state: Callable[..., State]) -> None:
    names = [f"@boxherd/local:{boxes('local')}" for _ in range(CROWD)]
    found = state(*names)
    begun = time.monotonic()
    add_op(found, server.shell, commands=["sleep 1"])
    run_ops(found)
    took = time.monotonic() - begun
    assert took < 4, took
    print(f"{CROWD} hosts slept 1 s each in {took:.2f} s")
