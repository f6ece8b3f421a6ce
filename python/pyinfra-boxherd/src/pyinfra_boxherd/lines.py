"""Bytes that arrive in pieces, as lines: pure."""

from __future__ import annotations

import codecs


class Lines:
    """Splits one stream. Bytes that are no UTF-8 become U+FFFD and lose nobody the rest."""

    def __init__(self, terminal: bool = False) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun: list[str] = []
        self._terminal = terminal

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        return self._split(self._decoder.decode(data))

    def end(self) -> list[str]:
        """What is left when no more comes: a last line without its end."""
        lines = self._split(self._decoder.decode(b"", final=True))
        if any(self._begun):
            lines.append(self._line(""))
        return lines

    def _split(self, text: str) -> list[str]:
        # Not splitlines(): it takes form feeds and others for the end of a line.
        *whole, begun = text.split("\n")
        lines = [self._line(part) for part in whole]
        self._begun.append(begun)
        return lines

    def _line(self, part: str) -> str:
        line = "".join((*self._begun, part))
        self._begun = []
        # A terminal ends lines with both.
        return line.removesuffix("\r") if self._terminal else line
