"""Ids and payloads as the user gives them: what is refused, and filters over payloads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.index.interface import Between, Payload, Where

__all__ = ["Payload", "Where", "accepts", "check_rows", "matching_rows", "options_of"]


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
        if not is_utf8(identity):
            raise ValueError(f"row {row}: the id {identity!r} can't be written as UTF-8; name it otherwise")
        if identity in seen:
            raise ValueError(f"row {row}: the id {identity!r} is there twice; ids must be unique")
        seen.add(identity)
    for identity, values in zip(ids, payload, strict=True):
        _check_payload(identity, values)


def is_utf8(text: str) -> bool:
    """False for text with lone surrogates, as names of files with broken encoding have."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_payload(identity: str, values: Payload) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"payload of {identity!r} must be a dict, got {type(values).__name__}")
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"payload of {identity!r} can't be written as JSON ({error}); use plain values") from error


def matching_rows(payload: Sequence[Payload], where: Where) -> NDArray[np.int64]:
    """Rows whose payload passes a filter, rising: (R,) int64."""
    passes = accepts(where)
    return np.array([row for row, values in enumerate(payload) if passes(values)], dtype=np.int64)


def accepts(where: Where) -> Callable[[Payload], bool]:
    """A filter as a function of one payload."""
    if callable(where):
        return where
    if not isinstance(where, Mapping):
        raise ValueError(f"a filter is a mapping or a function, got {type(where).__name__}")
    tests = [(key, _test(wanted)) for key, wanted in where.items()]
    return lambda values: all(key in values and test(values[key]) for key, test in tests)


def _test(wanted: Any) -> Callable[[Any], bool]:
    if isinstance(wanted, Between):
        return wanted.accepts
    options = options_of(wanted)
    return lambda value: value in options


def options_of(wanted: Any) -> list[Any]:
    """The values of which any will do."""
    return list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
