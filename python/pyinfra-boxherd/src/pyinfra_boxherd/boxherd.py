"""``@boxherd``: boxes of every engine that this machine's Boxherd knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.base import DataMeta
from typing_extensions import TypedDict

from . import helper
from .connector import BoxConnector

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:(?P<engine>{_LABEL}):)?(?P<name>{_LABEL})?")


class ConnectorData(TypedDict):
    boxherd_box: str


class BoxherdConnector(BoxConnector):
    """Runs on boxes of `Boxherd <https://pypi.org/project/pyinfra-boxherd/>`_.

    .. code:: shell

        pyinfra @boxherd/web ...            # a box, wherever it is
        pyinfra @boxherd/lab:web ...        # a box of the engine `lab`
        pyinfra @boxherd/lab: ...           # every box that runs there
    """

    data_cls = ConnectorData
    data_meta = {"boxherd_box": DataMeta("The box, as `NAME` or `ENGINE:NAME`")}
    data: ConnectorData

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """One host for a box, one for each box of an engine."""
        if not name:
            raise InventoryError(
                "No box provided! Write @boxherd/NAME, @boxherd/ENGINE:NAME or @boxherd/ENGINE:"
            )
        found = _NAME.fullmatch(name)
        if found is None or (found["engine"] is None and found["name"] is None):
            raise InventoryError(
                f"@boxherd host {name!r} must be in the form 'NAME', 'ENGINE:NAME' or 'ENGINE:'."
            )
        addresses = [name] if found["name"] else _running(found["engine"])
        for address in addresses:
            yield f"@boxherd/{address}", {"boxherd_box": address}, ["@boxherd"]

    def address(self) -> str:
        return self.data["boxherd_box"]


def _running(engine: str) -> list[str]:
    try:
        found = helper.get().ask("list", engine=engine)
    except OSError as error:
        raise InventoryError(f"@boxherd/{engine}: cannot be listed: {error}") from error
    for silent in found["unreachable"]:
        # Boxes that cannot be seen are not left out in silence.
        raise InventoryError(f"engine {silent['engine']!r} does not answer: {silent['reason']}")
    return [box["address"] for box in found["boxes"] if box["state"] in ("running", "suspended")]
