"""Filterable values of payloads as typed columns, and filters over them that mean what Python means by them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.index.interface import Between, Payload, Where
from signwave.index.rows import accepts, is_utf8, options_of

_PREFIX = "payload."
_PARSED = b"signwave.parsed_keys"  # keys whose values have no one type: filters parse the payload for them
_MAX_COLUMNS = 64
_MAX_TEXT = 1024  # characters; a longer text is hardly filtered by, and would be stored twice
_MAX_EXACT = 1 << 53
_INT64 = range(-(1 << 63), 1 << 63)


class Columns:
    """Collects payloads into columns."""

    def __init__(self) -> None:
        self._rows: dict[str, list[int]] = {}
        self._values: dict[str, list[Any]] = {}
        self._parsed: set[str] = set()

    def add(self, row: int, values: Payload) -> None:
        """Take in the payload of a row; rows rise."""
        for key, value in values.items():
            name = key if isinstance(key, str) else json.dumps(key)  # as JSON will name it
            if value is None or name in self._parsed:
                continue
            if name not in self._rows and len(self._rows) == _MAX_COLUMNS:
                self._parsed.add(name)
                continue
            self._rows.setdefault(name, []).append(row)
            self._values.setdefault(name, []).append(value)

    def table(self, own: Mapping[str, Any], *, count: int) -> Any:
        """An Arrow table of the given columns and one for each key whose values have one type."""
        import pyarrow as pa

        arrays = dict(own)
        for key in sorted(self._rows):
            kind = _column_type(self._values[key])
            if key in self._parsed or kind is None or not is_utf8(key):
                self._parsed.add(key)
                continue
            full: NDArray[Any] = np.full(count, None, dtype=object)
            full[self._rows[key]] = self._values[key]
            arrays[_PREFIX + key] = pa.array(full, getattr(pa, kind)(), from_pandas=False)
        return pa.table(arrays).replace_schema_metadata({_PARSED: json.dumps(sorted(self._parsed))})


def _column_type(values: list[Any]) -> str | None:
    """Arrow's name of the type that holds all values exactly, None if there is none."""
    types = {type(value) for value in values}
    if types == {str}:
        return "large_string" if all(len(text) <= _MAX_TEXT and is_utf8(text) for text in values) else None
    if types == {bool}:
        return "bool_"
    if types == {int}:
        return "int64" if all(value in _INT64 for value in values) else None
    if types <= {int, float}:
        return "float64" if all(type(v) is float or abs(v) <= _MAX_EXACT for v in values) else None
    return None


def matching(
    table: Any, where: Where, alive: NDArray[np.bool_], payload: Callable[[int], Payload]
) -> NDArray[np.bool_]:
    """Which rows pass a filter: (N,) bool.

    Args:
        table: made by `Columns.table`.
        where: the filter. Functions, None and keys of mixed types are asked of payloads, after all else.
        alive: (N,) bool, rows that count.
        payload: parses the payload of a row.
    """
    passing: NDArray[np.bool_] = alive.copy()
    rest: Where = where
    if isinstance(where, Mapping):
        parsed, left = _parsed_keys(table), {}
        for key, wanted in where.items():
            if key in parsed or not _is_columnar(wanted):
                left[key] = wanted
            else:
                passing &= _column_matches(table, key, wanted)
        rest = left
    passes = accepts(rest)
    if rest:
        for row in np.flatnonzero(passing):
            passing[row] = bool(passes(payload(int(row))))
    return passing


def _parsed_keys(table: Any) -> set[str]:
    return set(json.loads((table.schema.metadata or {}).get(_PARSED, b"[]")))


def _is_columnar(wanted: Any) -> bool:
    """False if a column can't tell: it holds no None, and no text that isn't UTF-8."""
    if isinstance(wanted, Between):
        return all(is_utf8(end) for end in (wanted.low, wanted.high) if isinstance(end, str))
    return not any(value is None for value in options_of(wanted))


def _column_matches(table: Any, key: Any, wanted: Any) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = np.zeros(table.num_rows, dtype=bool)
    if not isinstance(key, str) or not is_utf8(key) or _PREFIX + key not in table.column_names:
        return nothing
    column = table.column(_PREFIX + key)
    if isinstance(wanted, Between):
        found = _between(column, wanted)
    else:
        converted = [as_column_value(option, str(column.type)) for option in options_of(wanted)]
        options = pa.array([value for value in converted if value is not None], column.type)
        found = pc.is_in(column, value_set=options) if len(options) else None
    if found is None:
        return nothing
    return found.fill_null(False).to_numpy().astype(bool)  # type: ignore[no-any-return]


def as_column_value(value: Any, column_type: str) -> Any:
    """The column's value that equals a value as Python compares them (True is 1 is 1.0), None if there is none."""
    if column_type == "large_string":
        return value if isinstance(value, str) and is_utf8(value) else None
    if not isinstance(value, (bool, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if column_type == "bool":
        return bool(value) if value in (0, 1) else None
    if column_type == "int64":
        return int(value) if value == int(value) and int(value) in _INT64 else None
    try:
        return float(value) if float(value) == value else None
    except OverflowError:
        return None


def _between(column: Any, wanted: Between) -> Any:
    """Arrow's answer, None if no value of the column can pass."""
    import pyarrow.compute as pc

    kind = str(column.type)
    if wanted.is_text != (kind == "large_string") or kind == "bool":
        return None
    found = pc.is_valid(column)
    for end, compare in ((wanted.low, pc.greater_equal), (wanted.high, pc.less)):
        if end is None:
            continue
        bound = end if isinstance(end, str) else _bound(end, kind)
        if isinstance(bound, bool):
            is_low = compare is pc.greater_equal
            if bound == is_low:  # all values lie below a low end, or above a high one
                return None
            continue
        found = pc.and_kleene(found, compare(column, bound))
    return found


def _bound(end: float, kind: str) -> int | float | bool:
    """An end as a number of the column's type that divides its values in the same way.

    True stands for an end above all values that the type has, False for one below all.
    """
    if kind == "double":
        try:
            return float(end) if float(end) == end else _next_float(end)
        except OverflowError:
            return end > 0
    if isinstance(end, float) and math.isinf(end):
        return end > 0
    whole = math.ceil(end)
    if whole in _INT64:
        return whole
    return whole > 0


def _next_float(end: float) -> float:
    """The smallest float that is at least an integer that is none."""
    near = float(end)
    return near if near > end else math.nextafter(near, math.inf)
