"""Exported lines on their way into a file and out of it, for every engine; see `model.archive`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO

import msgspec

from eventmill.errors import InvalidPayload
from eventmill.model import archive
from eventmill.model.archive import End, EntryLine, Header

LINES_BETWEEN_REPORTS = 5_000

Progress = Callable[[int, int], None]
"""Told now and then: entries done, entries in all."""


class Writer:
    """Writes lines, the first and the last by itself."""

    def __init__(self, file: IO[bytes], entries: int, progress: Progress) -> None:
        self._file = file
        self._total = entries
        self._progress = progress
        self._digest = hashlib.sha256()
        self._lines = self._entries = 0
        self.put(Header(archive.FORMAT, entries))

    def put(self, line: archive.Line) -> None:
        """Write a line."""
        text = archive.encode_line(line) + b"\n"
        self._digest.update(text)
        self._file.write(text)
        self._lines += 1
        self._entries += isinstance(line, EntryLine)
        if self._lines % LINES_BETWEEN_REPORTS == 0:
            self._progress(self._entries, self._total)

    def end(self) -> End:
        """Write the last line; return it."""
        self._progress(self._total, self._total)
        end = End(self._lines, self._digest.hexdigest())
        self._file.write(archive.encode_line(end) + b"\n")
        return end


def read(file: Iterable[bytes], progress: Progress) -> Iterator[archive.Line]:
    """Decode lines; the last one must fit all before it.

    Raises `InvalidPayload` for a file that is torn, changed or none of ours.
    """
    digest, lines, total, entries = hashlib.sha256(), 0, 0, 0
    for text in file:
        try:
            line = archive.decode_line(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidPayload(f"line {lines + 1} is no line of an export: {error}") from error
        if lines == 0:
            if not isinstance(line, Header) or line.format != archive.FORMAT:
                raise InvalidPayload(f"this is no export of format {archive.FORMAT}")
            total = line.entries
        if isinstance(line, End):
            if (line.lines, line.digest) != (lines, digest.hexdigest()):
                raise InvalidPayload("the file was changed: its lines do not fit its digest")
            progress(entries, total)
            yield line
            return
        digest.update(text)
        lines += 1
        entries += isinstance(line, EntryLine)
        yield line
        if lines % LINES_BETWEEN_REPORTS == 0:
            progress(entries, total)
    raise InvalidPayload(f"the file is torn: it ends after {lines} lines")
