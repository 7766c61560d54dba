"""Long work in parts beside its output: what is done survives `kill -9`, and is taken up again if nothing changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from signwave.errors import ArtefactError
from signwave.index.lock import exclusive
from signwave.rundir import read_json, sweep_temporaries, write_json


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Parts:
    """A folder of numbered parts, `OUT.parts`.

    Args:
        out: the file that the parts will become.
        facts: plain values that everything depends on: hashes of the inputs, settings.
        suffix: of the part files.
    """

    def __init__(self, out: str | Path, facts: Mapping[str, Any], *, suffix: str) -> None:
        self.out = Path(out)
        self.folder = self.out.with_name(f"{self.out.name}.parts")
        self.facts = dict(facts)
        self.suffix = suffix

    @contextlib.contextmanager
    def open(self, *, overwrite: bool = False) -> Iterator[None]:
        """Hold the folder, as its only writer.

        Args:
            overwrite: throw parts of other inputs away instead of refusing.

        Raises:
            ArtefactError: its parts are of other inputs, or another process writes there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder):
            sweep_temporaries(self.folder)
            self._check(overwrite)
            yield

    def path(self, number: int) -> Path:
        """Where a part lies; it is there if and only if it is whole."""
        return self.folder / f"{number:06d}{self.suffix}"

    def remove(self) -> None:
        """Delete the folder, once the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, overwrite: bool) -> None:
        header = self.folder / "header.json"
        found = read_json(header) if header.exists() else None
        if found == self.facts:
            return
        if found is not None and not overwrite:
            raise ArtefactError(
                f"{self.folder}: unfinished work with {difference(found, self.facts)}; finish it as it was begun, or "
                "give --overwrite"
            )
        for path in self.folder.glob(f"*{self.suffix}"):
            path.unlink()
        write_json(header, self.facts)


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What differs between two headers, in words: "another model (a…, not b…)".

    Args:
        found: of what lies there.
        wanted: of what was asked for.
    """
    for name, value in wanted.items():
        there = found.get(name)
        if there != value:
            if isinstance(there, Mapping) and isinstance(value, Mapping):
                return difference(there, value)
            what = name.removesuffix("_sha256").replace("_", " ")
            return f"another {what} ({_short(there)}, not {_short(value)})"
    extra = sorted(set(found) - set(wanted))
    return f"another {extra[0]} ({_short(found[extra[0]])})" if extra else "other settings"


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:8]}…" if len(text) == 64 else text
