"""What was measured, one line of JSON per recording, appended as it comes: a killed run loses at most its last line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from signwave import rundir
from signwave.errors import ArtefactError, ConfigError

Row = dict[str, Any]

_LOG, _SETTINGS = "measured.jsonl", "measure.json"


class Journal:
    """The measurements in a folder.

    `measure.json` says what they were made with, `measured.jsonl` holds them; of several lines about one file the last
    one counts.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        """Open a journal, made if it isn't there.

        Raises:
            ConfigError: the folder was measured with other settings.
            ArtefactError: a file of it is damaged.
        """
        self._log = Path(folder) / _LOG
        stored_path = Path(folder) / _SETTINGS
        if stored_path.exists():
            _check_same(stored_path, rundir.read_json(stored_path), settings)
        else:
            rundir.write_json(stored_path, dict(settings))
        self._rows: dict[str, Row] = {}
        self._size = 0
        if self._log.exists():
            self._read()

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Whether a folder holds one."""
        return (Path(folder) / _SETTINGS).exists()

    @staticmethod
    def settings_in(folder: str | Path) -> dict[str, Any]:
        """What a folder was measured with.

        Raises:
            ArtefactError: it holds no journal.
        """
        settings: dict[str, Any] = rundir.read_json(Path(folder) / _SETTINGS)
        return settings

    @property
    def rows(self) -> list[Row]:
        """The last row about each file, in the order of their names."""
        return [self._rows[name] for name in sorted(self._rows)]

    def is_done(self, row: Row) -> bool:
        """Whether this file, of this size and time of change, was measured without a failure."""
        known = self._rows.get(row["file"])
        same = known is not None and all(known[key] == row[key] for key in ("size", "mtime_ns"))
        return same and known is not None and known["failure"] is None

    def keep_only(self, names: set[str]) -> None:
        """Forget, in memory, files that are gone."""
        self._rows = {name: row for name, row in self._rows.items() if name in names}

    @contextmanager
    def appending(self) -> Iterator[_Writer]:
        """Open for more rows; what a killed run left of a line is cut off first."""
        with open(self._log, "ab") as file:
            file.truncate(self._size)
            try:
                yield _Writer(file, self._rows)
            finally:
                file.flush()
                os.fsync(file.fileno())
                self._size = file.tell()

    def _read(self) -> None:
        with open(self._log, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # of a killed run
                try:
                    row = json.loads(line)
                    self._rows[row["file"]] = row
                except (ValueError, TypeError, KeyError) as error:
                    raise ArtefactError(
                        f"{self._log}:{number}: not a measurement ({error}); delete the line to measure that file again"
                    ) from error
                self._size += len(line)


class _Writer:
    def __init__(self, file: IO[bytes], rows: dict[str, Row]) -> None:
        self._file = file
        self._rows = rows

    def add(self, row: Row) -> None:
        """Write a row, unless it says what is known already."""
        if self._rows.get(row["file"]) == row:
            return
        self._file.write(json.dumps(row, ensure_ascii=False, sort_keys=True, allow_nan=False).encode() + b"\n")
        self._file.flush()
        self._rows[row["file"]] = row


def _check_same(path: Path, stored: Any, settings: Mapping[str, Any]) -> None:
    names = {**stored, **settings}
    different = [name for name in names if stored.get(name) != settings.get(name)]
    if different:
        told = ", ".join(f"{name}={stored.get(name)!r} and not {settings.get(name)!r}" for name in different)
        raise ConfigError(f"{path}: this folder was measured with {told}; give the same, or another output folder")
