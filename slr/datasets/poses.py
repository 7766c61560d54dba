"""A folder of `.pose` files, with or without a table of their texts; see slr.datasets.videos for the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from signwave.manifest import Clip
from signwave.media.poses import probe_pose
from signwave.prepare import Problem, Row
from slr.datasets.videos import in_span, rows_of_folder


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the folder."""
    return rows_of_folder(Path(raw), kind="pose", suffixes=(".pose",))


def check(clip: Clip) -> Clip:
    """Read the whole file and note its length."""
    info = probe_pose(clip.path)
    return in_span(clip, num_frames=info.num_frames, rate_hz=info.fps)
