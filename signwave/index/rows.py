"""The table beside the vectors: one line of id and payload for each row, and filters over payloads."""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError

Payload = dict[str, Any]
Where = Mapping[str, Any] | Callable[[Payload], bool]
"""A filter: wanted values by key (a list, tuple or set allows any of its members), or a function of the payload."""


def write_rows(path: Path, ids: Sequence[str], payload: Sequence[Payload]) -> None:
    """Write gzipped JSON lines. The same rows give the same bytes."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for identity, values in zip(ids, payload, strict=True):
            line = json.dumps({"id": identity, "payload": values}, ensure_ascii=True, allow_nan=False)
            file.write(line.encode("ascii") + b"\n")


def read_rows(path: Path, *, count: int) -> tuple[list[str], list[Payload]]:
    """Read what `write_rows` wrote; a number of rows other than `count` is an ArtefactError."""
    try:
        with gzip.open(path, "rb") as file:
            rows = [json.loads(line) for line in file]
        ids, payload = [row["id"] for row in rows], [row["payload"] for row in rows]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: not a table of rows ({error}); build the index again") from error
    if len(ids) != count or len(set(ids)) != count:
        raise ArtefactError(f"{path}: has {len(set(ids))} ids in {len(ids)} rows, expected {count}; build it again")
    return ids, payload


def check_rows(ids: Sequence[str], payload: Sequence[Payload], *, count: int) -> None:
    """Refuse rows that can't be stored and found again.

    Raises:
        ValueError: lengths differ, an id is empty, not a string or there twice, or a payload is no JSON object.
    """
    if len(ids) != count or len(payload) != count:
        raise ValueError(f"got {count} vectors, {len(ids)} ids and {len(payload)} payloads; give one of each a row")
    seen: set[str] = set()
    for row, identity in enumerate(ids):
        # Arrays of text drop a trailing NUL, so an id that holds one could not be returned.
        if not isinstance(identity, str) or not identity or "\0" in identity:
            raise ValueError(f"row {row}: an id must be text of at least one character without NUL, got {identity!r}")
        if identity in seen:
            raise ValueError(f"row {row}: the id {identity!r} is there twice; ids must be unique")
        seen.add(identity)
    for identity, values in zip(ids, payload, strict=True):
        _check_payload(identity, values)


def _check_payload(identity: str, values: Payload) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"payload of {identity!r} must be a dict, got {type(values).__name__}")
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"payload of {identity!r} can't be written as JSON ({error}); use plain values") from error


def matching_rows(payload: Sequence[Payload], where: Where) -> NDArray[np.int64]:
    """Rows whose payload passes a filter, rising: (R,) int64."""
    accepts = where if callable(where) else _accepts_values(where)
    return np.array([row for row, values in enumerate(payload) if accepts(values)], dtype=np.int64)


def _accepts_values(wanted: Mapping[str, Any]) -> Callable[[Payload], bool]:
    allowed = {
        key: list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        for key, value in wanted.items()
    }  # fmt: skip
    return lambda values: all(key in values and values[key] in options for key, options in allowed.items())
