"""A clip that is looked for: a video or pose file, or a span of one as FILE@START-END."""

from __future__ import annotations

import re

from signwave.errors import UserError
from signwave.manifest import Clip, ClipKind
from slr.reading import POSE_SUFFIX

_SPAN = re.compile(r"(?P<path>.+)@(?P<start>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)")


def clip_of(text: str) -> Clip:
    """The clip that a text names.

    >>> clip_of("talk.mp4@2.5-4").start_seconds
    2.5

    Raises:
        UserError: the span holds nothing.
    """
    found = _SPAN.fullmatch(text)
    path, start, end = (found["path"], float(found["start"]), float(found["end"])) if found else (text, 0.0, None)
    if end is not None and end <= start:
        raise UserError(f"{text}: the span ends before it begins; give FILE@START-END in seconds")
    kind: ClipKind = "pose" if path.lower().endswith(POSE_SUFFIX) else "video"
    return Clip(id=text, path=path, kind=kind, start_seconds=start, end_seconds=end)
