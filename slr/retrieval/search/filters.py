"""Filters as they are typed: "person=ann", "language=en,de", "date=2010-01-01..2010-02-01", "seconds=2..5"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from signwave.errors import UserError
from signwave.index.interface import Between, VectorIndex

KEYS = ("person", "language", "group", "corpus", "date", "seconds", "split")
"""What the index knows of every clip; tags that were given to `slr index` are keys too."""
_NUMBERS = ("seconds",)
_RANGE = ".."
_NOT_FILTERED = ("path", "text", "start_seconds", "end_seconds")


def parse_where(filters: Sequence[str]) -> dict[str, Any]:
    """A filter for `VectorIndex.search` from texts KEY=VALUE, KEY=VALUE,VALUE or KEY=LOW..HIGH.

    A range holds its lower end and not its upper one; either may be left out. The same key may be given once.

    Raises:
        UserError: a text is none of these.
    """
    found: dict[str, Any] = {}
    for text in filters:
        key, mark, value = text.partition("=")
        if not mark or not key or not value or key in found:
            raise UserError(
                f"--where {text}: give KEY=VALUE, KEY=VALUE,VALUE or KEY=LOW..HIGH, each key once; keys are "
                f"{', '.join(KEYS)} and the tags given to `slr index`"
            )
        found[key] = _value(text, key, value)
    return found


def _value(text: str, key: str, value: str) -> Any:
    if _RANGE in value:
        low, high = (_number(text, key, end) if end else None for end in value.split(_RANGE, maxsplit=1))
        if low is None and high is None:
            raise UserError(f"--where {text}: a range needs a lower end, an upper one, or both")
        return Between(low, high)
    values = [_number(text, key, one) for one in value.split(",")]
    return values if len(values) > 1 else values[0]


def _number(text: str, key: str, value: str) -> Any:
    if key not in _NUMBERS:
        return value
    try:
        return float(value)
    except ValueError:
        raise UserError(f"--where {text}: '{value}' is no number; {key} is in seconds, like {key}=2..5") from None


def why_empty(index: VectorIndex, where: Mapping[str, Any] | None) -> str:
    """What to tell when a search found nothing: maybe no clip has a key that was filtered by."""
    told = "no clip in the index passes the filter"
    # One after the other: a million payloads at once would be gigabytes.
    unseen, keys = set(where or ()), set()
    for identity in index.ids:
        row = index.row_of(identity)
        if row is None or not unseen:
            continue
        payload = index.payload(row)
        unseen -= payload.keys()
        keys |= {key for key, value in payload.items() if isinstance(value, str | float) and key not in _NOT_FILTERED}
    if not unseen:
        return told
    return f"{told}: none has {', '.join(sorted(unseen))}; they have {', '.join(sorted(keys))}"


def parse_tags(tags: Sequence[str]) -> dict[str, str]:
    """Tags from texts KEY=VALUE.

    Raises:
        UserError: a text is none, or names what every clip has already.
    """
    found = {}
    for text in tags:
        key, mark, value = text.partition("=")
        if not mark or not key or (key in KEYS and key != "corpus"):
            raise UserError(
                f"--tag {text}: give KEY=VALUE with a key of your own; {', '.join(KEYS)} come from the clips"
            )
        found[key] = value
    return found
