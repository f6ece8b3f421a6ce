"""``@lxd_api``: a stand-in for the connector of ``pyinfra-lxd-api-connector``, with its names, host
data and messages. A remote is the engine of that name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.connectors.base import DataMeta
from typing_extensions import NotRequired, TypedDict

from . import helper
from .connector import BoxConnector


class ConnectorData(TypedDict):
    lxd_container: str
    lxd_remote: str
    lxd_exec_retry_on_read_errors: NotRequired[bool]


class LxdApiConnector(BoxConnector):
    """Runs on instances of LXD and Incus servers.

    .. code:: shell

        pyinfra @lxd_api/lab:web ...        # the instance `web` of the remote `lab`
        pyinfra @lxd_api/web ...            # of the default remote of `lxc`
    """

    data_cls = ConnectorData
    data_meta = {
        "lxd_container": DataMeta("LXD container name"),
        "lxd_remote": DataMeta("LXD remote name, which is the name of an engine of Boxherd"),
        "lxd_exec_retry_on_read_errors": DataMeta(
            "Accepted and without effect: a command is never begun twice, and its exit is not lost"
        ),
    }
    data: ConnectorData

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """One host for one instance."""
        if not name:
            raise InventoryError("No LXD container provided!")
        remote, colon, container = name.partition(":")
        if not colon:
            remote, container = _default_remote(), name
        if not remote or not container:
            raise InventoryError(
                f"@lxd_api host {name!r} must be in the form '<remote>:<container>' or '<container>'."
            )
        yield (
            f"@lxd_api/{remote}:{container}",
            {"lxd_remote": remote, "lxd_container": container},
            ["@lxd_api"],
        )

    def connect(self) -> None:
        """Sees that the instance is there, runs, and answers."""
        target = f"{self.data['lxd_remote']}:{self.data['lxd_container']}"
        try:
            helper.get().ask("open", box=self.address())
        except helper.BoxherdError as error:
            raise ConnectError(_said(target, error)) from error
        except OSError as error:
            raise ConnectError(str(error)) from error

    def address(self) -> str:
        cached = self.host.connector_data.get("boxherd_box")
        if cached is None:
            cached = _address(self.data["lxd_remote"], self.data["lxd_container"])
            self.host.connector_data["boxherd_box"] = cached
        return str(cached)


def _address(remote: str, container: str) -> str:
    """How Boxherd names an instance of a remote: by the engine that is called so."""
    engines = {engine["name"]: engine["kind"] for engine in helper.get().ask("engines")["engines"]}
    if engines.get(remote) not in ("lxd", "incus"):
        known = sorted(name for name, kind in engines.items() if kind in ("lxd", "incus"))
        raise ConnectError(
            f"LXD remote {remote!r} not found among the engines of Boxherd (known: {known}); "
            f"run `boxherd engine add {remote} --lxd URL` first."
        )
    return f"{remote}:{container}"


def _said(target: str, error: helper.BoxherdError) -> str:
    """What went wrong, in the words of the original where it has some."""
    if error.code == "no-such-box":
        return f"LXD container {target} does not exist ({error})"
    if error.code == "not-running":
        return f"LXD container {target} is not running ({error})"
    return str(error)


def _config() -> Path:
    return Path(os.path.expanduser("~/.config/lxc/config.yml"))


def _default_remote() -> str:
    config = _config()
    try:
        text = config.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    # One key of the first level; not worth a parser of YAML among the dependencies.
    found = re.search(r"^default-remote:[ \t]*[\"']?([^\"'\s#]+)", text, re.MULTILINE)
    if found is None:
        raise InventoryError(
            f"@lxd_api host given without an explicit remote, and no `default-remote` is set in "
            f"{config}. Either qualify the host as '<remote>:<container>', or run "
            f"`lxc remote switch <name>` to set a default."
        )
    return found[1]
