"""Which broadcast a clip of the Phoenix corpora was cut from: its id says date and programme."""

from __future__ import annotations

import re

_PHOENIX_ID = re.compile(r"(\d{2}[A-Z][a-z]+_\d{4}_[A-Z][a-z]+_[A-Za-z]+?)(_default)?-\d+")


def broadcast(clip_id: str) -> str:
    """Date and programme, the same for both Phoenix corpora; '' where the id is of another kind.

    >>> broadcast("01April_2010_Thursday_heute_default-1"), broadcast("01April_2010_Thursday_heute-7583")
    ('01april_2010_thursday_heute', '01april_2010_thursday_heute')
    """
    match = _PHOENIX_ID.fullmatch(clip_id)
    return match[1].lower() if match else ""


def is_phoenix2014(clip_id: str) -> bool:
    """Whether an id is written as in Phoenix-2014 (and its SI5 split), not as in Phoenix-2014T."""
    match = _PHOENIX_ID.fullmatch(clip_id)
    return match is not None and match[2] is not None


def is_phoenix2014t(clip_id: str) -> bool:
    """Whether an id is written as in Phoenix-2014T."""
    match = _PHOENIX_ID.fullmatch(clip_id)
    return match is not None and match[2] is None
