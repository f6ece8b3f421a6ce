"""What every connector to boxes does: commands and files, over the helper."""

from __future__ import annotations

from io import IOBase
from typing import IO, TYPE_CHECKING, Any, cast

import gevent
from pyinfra import logger
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.output import echo, format_text
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import (
    CommandOutput,
    OutputLine,
    execute_command_with_sudo_retry,
    extract_control_arguments,
    make_unix_command_for_host,
    write_stdin,
)

from . import helper
from .helper import Call
from .lines import Lines

if TYPE_CHECKING:
    from pyinfra.api.arguments import ConnectorArguments
    from typing_extensions import Unpack

_PIECE = 256 * 1024
"""How much of a file is read at once, in bytes."""

_TERMINAL = {"rows": 24, "cols": 80}

_BECOME = ("_sudo", "_doas", "_dzdo", "_su_user")
"""Arguments that have a command run by another."""

_BECOME_WITH = (
    "_sudo", "_sudo_user", "_use_sudo_login", "_sudo_password", "_preserve_sudo_env",
    "_su_user", "_use_su_login", "_su_password", "_preserve_su_env", "_su_shell",
    "_doas", "_doas_user", "_dzdo", "_dzdo_user",
)  # fmt: skip


class BoxConnector(BaseConnector):
    """A connector to boxes; a subclass says which box a host is."""

    handles_execution = True

    def address(self) -> str:
        """The box of this host, as ``boxherd`` names it; raises ``ConnectError``."""
        raise NotImplementedError

    def connect(self) -> None:
        """Sees that the box is there, runs, and answers; its link is then kept."""
        try:
            helper.get().ask("open", box=self.address())
        except OSError as error:
            raise ConnectError(str(error)) from error

    def run_shell_command(
        self,
        command: StringCommand,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> tuple[bool, CommandOutput]:
        """Runs a command; its lines are in the order in which they were written.

        Raises ``TimeoutError`` when ``_timeout`` is over and the command was killed, and ``OSError``
        when the box or the way to it fails.
        """
        control = extract_control_arguments(arguments)

        def execute() -> tuple[int, CommandOutput]:
            line = make_unix_command_for_host(self.state, self.host, command, **arguments)
            logger.debug("--> Running command on %s: %s", self.host.name, line)
            if print_input:
                echo(f"{self.host.print_prefix}>>> {line}", err=True)
            return self._execute(line.get_raw_value(), control, print_output)

        code, output = execute_command_with_sudo_retry(self.host, arguments, execute)
        return code in (control.get("_success_exit_codes") or (0,)), output

    def put_file(
        self,
        filename_or_io: str | IOBase,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> bool:
        """Uploads a file. It is in its place whole or not at all, and keeps the owner and mode of
        what it replaces. With sudo, su or doas it is written by whom they say."""
        if not _becomes(arguments):
            self._put(filename_or_io, remote_filename)
        else:
            temporary = remote_temp_filename or self.host.get_temp_filename(remote_filename)
            plain = _plain(arguments)
            self._put(filename_or_io, temporary, private=True)
            try:
                other = _other_user(arguments)
                if other is not None and not self._done(
                    StringCommand("chown", QuoteString(other), QuoteString(temporary)),
                    "cannot hand the file over", print_output, print_input, plain,
                ):  # fmt: skip
                    return False
                copy = StringCommand("cp", QuoteString(temporary), QuoteString(remote_filename))
                if not self._done(
                    copy, "cannot upload", print_output, print_input, arguments
                ):
                    return False
            finally:
                self._remove(temporary, plain)
        if print_output:
            echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
        return True

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: str | IOBase,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> bool:
        """Downloads a file; a directory is refused. With sudo, su or doas it is read by whom they
        say."""
        if not _becomes(arguments):
            self._get(remote_filename, filename_or_io)
        else:
            temporary = remote_temp_filename or self.host.get_temp_filename(remote_filename)
            try:
                copy = StringCommand("cp", QuoteString(remote_filename), QuoteString(temporary))
                if not self._done(
                    copy, "cannot download", print_output, print_input, arguments
                ):
                    return False
                self._get(temporary, filename_or_io)
            finally:
                self._remove(temporary, _plain(arguments))
        if print_output:
            echo(f"{self.host.print_prefix}file downloaded: {remote_filename}", err=True)
        return True

    def _execute(
        self, line: str, control: ConnectorArguments, print_output: bool
    ) -> tuple[int, CommandOutput]:
        stdin, terminal = control.get("_stdin"), bool(control.get("_get_pty"))
        timeout = control.get("_timeout")
        with helper.get().call(
            "exec",
            box=self.address(),
            shell=line,
            user="root",
            timeout_ms=int(timeout * 1000) if timeout else None,
            pty=_TERMINAL if terminal else None,
            stdin=bool(stdin),
        ) as call:
            feeder = gevent.spawn(_feed, call, stdin) if stdin else None
            try:
                code, output = self._collect(call, terminal, print_output)
            finally:
                if feeder is not None:
                    feeder.kill()
        if code is None:
            raise TimeoutError(f"the command took longer than {timeout} s and was killed")
        return code, output

    def _collect(
        self, call: Call, terminal: bool, print_output: bool
    ) -> tuple[int | None, CommandOutput]:
        streams = {name: Lines(terminal) for name in ("stdout", "stderr")}
        output: list[OutputLine] = []

        def take(name: str, lines: list[str]) -> None:
            for line in lines:
                output.append(OutputLine(name, line))
                if print_output:
                    shown = format_text(line, "red") if name == "stderr" else line
                    echo(f"{self.host.print_prefix}{shown}", err=True)

        for frame in call:
            event = frame.header["event"]
            if event in streams:
                take(event, streams[event].feed(frame.body))
            elif event == "exit":
                call.finish()
                for name, stream in streams.items():
                    take(name, stream.end())
                return _code(frame.header), CommandOutput(output)
        raise AssertionError("a call ends with an exit or an error")

    def _done(
        self,
        command: StringCommand,
        failed: str,
        print_output: bool,
        print_input: bool,
        arguments: ConnectorArguments,
    ) -> bool:
        done, output = self.run_shell_command(
            command, print_output=print_output, print_input=print_input, **_copied(arguments)
        )
        if not done:
            logger.error(f"{self.host.print_prefix}{failed}: {output.stderr}")
        return done

    def _remove(self, path: str, arguments: ConnectorArguments) -> None:
        command = StringCommand("rm", "-f", QuoteString(path))
        self._done(command, "cannot remove the temporary file", False, False, arguments)

    def _put(self, source: str | IOBase, path: str, private: bool = False) -> None:
        owner = {"mode": 0o600, "uid": 0, "gid": 0} if private else {}
        with (
            get_file_io(cast("str | IO[Any]", source)) as file,
            helper.get().call("put", box=self.address(), path=path, **owner) as call,
        ):
            while data := file.read(_PIECE):
                if not call.data(data.encode() if isinstance(data, str) else data):
                    break
            call.end()
            # Also what it failed with before all was sent.
            call.next()
            call.finish()

    def _get(self, path: str, target: str | IOBase) -> None:
        with helper.get().call("get", box=self.address(), path=path) as call:
            # Not before it is known that there is something: the local file is emptied.
            call.next()
            with get_file_io(cast("str | IO[Any]", target), "wb") as file:
                for frame in call:
                    if frame.header["event"] == "done":
                        break
                    file.write(frame.body)
            call.finish()


class _Stdin:
    """The input of a command, as ``write_stdin`` writes it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def write(self, data: bytes) -> None:
        # One that reads no more has ended, or will; either says so.
        self._call.data(data)

    def close(self) -> None:
        self._call.end()


def _feed(call: Call, stdin: Any) -> None:
    write_stdin(stdin, _Stdin(call))  # type: ignore[no-untyped-call]


def _code(header: dict[str, Any]) -> int | None:
    """What a shell would have; ``None`` when the time was up."""
    if header.get("timed_out"):
        return None
    if "signal" in header:
        return 128 + int(header["signal"])
    return int(header["code"])


def _becomes(arguments: ConnectorArguments) -> bool:
    return any(cast("dict[str, Any]", arguments).get(key) for key in _BECOME)


def _other_user(arguments: ConnectorArguments) -> str | None:
    given = cast("dict[str, Any]", arguments)
    users = (given.get(key) for key in ("_su_user", "_sudo_user", "_doas_user", "_dzdo_user"))
    return next((str(user) for user in users if user), None)


def _plain(arguments: ConnectorArguments) -> ConnectorArguments:
    """The same without becoming anybody, or going anywhere."""
    left_out = (*_BECOME_WITH, "_chdir", "_stdin", "_success_exit_codes", "_get_pty")
    kept = {key: value for key, value in arguments.items() if key not in left_out}
    return cast("ConnectorArguments", kept)


def _copied(arguments: ConnectorArguments) -> ConnectorArguments:
    """Taking arguments out of them changes nobody's."""
    return cast("ConnectorArguments", dict(arguments))
