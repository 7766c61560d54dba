"""Subtitle files read: WebVTT and SubRip, as they come with recordings from the web."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asr.corpora.tables import read_lines
from signwave.errors import ManifestError

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})"
_TIMING = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}")
_TAG = re.compile(r"<[^>]*>")
_DIRECTIONS = str.maketrans("", "", "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Line(NamedTuple):
    """One subtitle: where it stands in the file, when it is shown (half-open), and its words."""

    line: int
    start_seconds: float
    end_seconds: float
    text: str


def read_subtitles(path: Path) -> Iterator[Line]:
    """Yield the subtitles of a .vtt or .srt file: without tags, notes, numbers, entities and marks of direction.

    Raises:
        ManifestError: a timing ends before it starts.
        UserError: the file is missing or not UTF-8.
    """
    current: Line | None = None
    expected = 0
    for number, text in read_lines(path):
        timing = _TIMING.match(text)
        if timing is None and current is not None and number == expected:
            words = " ".join(html.unescape(_TAG.sub("", text)).translate(_DIRECTIONS).split())
            current = current._replace(text=f"{current.text} {words}".strip())
            expected += 1
            continue
        if current is not None:  # a blank line ended it: read_lines passes those over, so the number jumps
            yield current
            current = None
        if timing is not None:
            start, end = _seconds(*timing.groups()[:4]), _seconds(*timing.groups()[4:])
            if end < start:
                raise ManifestError(f"{path}:{number}: ends at {end:g} s, before its start at {start:g} s; correct it")
            current, expected = Line(number, start, end, ""), number + 1
    if current is not None:
        yield current


def _seconds(hours: str | None, minutes: str, seconds: str, milliseconds: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(milliseconds) / 1000
