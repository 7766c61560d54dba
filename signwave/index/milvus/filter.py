"""From `where` to Milvus's filter expressions; what they can't say exactly is left to be checked here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signwave.index.interface import Between, Where

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
_MAX_INTEGER = 1 << 53  # Milvus compares numbers inside JSON as doubles
_MAX_OPTIONS = 32  # milvus-lite knows no `in` for JSON, and a chain of `or` costs a pass each


@dataclass(frozen=True)
class Plan:
    """How a filter is answered.

    Attributes:
        expression: what Milvus filters by, "" for all rows. Every row that passes `where` passes this.
        rest: what is left to be checked on each payload that Milvus lets through, None if nothing is.
    """

    expression: str
    rest: Where | None


def plan(where: Where | None) -> Plan:
    """Split a filter into Milvus's part and ours.

    Milvus answers equality and lists of texts, numbers and booleans, and `Between` of numbers or texts, on keys that
    are plain words. Functions, None, nested values, unusual keys, control characters and long lists are ours.
    """
    if where is None or callable(where):
        return Plan("", where)
    expressions, rest = [], {}
    for key, wanted in where.items():
        expression = _condition(key, wanted) if _KEY.fullmatch(key) else None
        if expression is None:
            rest[key] = wanted
        else:
            expressions.append(expression)
    return Plan(" and ".join(expressions), rest or None)


def _condition(key: str, wanted: Any) -> str | None:
    """Milvus's expression for one key, None if it has none that is exact."""
    field = f'payload["{key}"]'
    if isinstance(wanted, Between):
        bounds = [(">=", wanted.low), ("<", wanted.high)]
        terms = [f"{field} {sign} {literal(value)}" for sign, value in bounds if value is not None]
        is_sayable = bool(terms) and all(value is None or literal(value) is not None for _, value in bounds)
        return f"({' and '.join(terms)})" if is_sayable else None
    options = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
    if isinstance(wanted, Mapping) or not 0 < len(options) <= _MAX_OPTIONS:
        return None
    literals: list[str] = []
    for option in options:
        spelled = _equal_literals(option)
        if spelled is None:
            return None
        literals.extend(text for text in spelled if text not in literals)
    return "(" + " or ".join(f"{field} == {text}" for text in literals) + ")"


def _equal_literals(value: Any) -> list[str] | None:
    """All literals that stand for values equal to this one: in Python True is 1."""
    text = literal(value)
    if text is None:
        return None
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return [str(int(value)), "true" if value else "false"]
    return [text]


def literal(value: Any) -> str | None:
    """A value as Milvus's expressions spell it, None if they can't."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) <= _MAX_INTEGER else None
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else None
    if isinstance(value, str) and not _CONTROL.search(value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return None
