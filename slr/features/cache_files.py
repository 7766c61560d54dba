"""The files of a feature cache: its header, and the lists of what lies in its shards; see slr.features.cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.manifest import Clip
from signwave.rundir import read_json
from slr.features.windows import SlidingWindows

HalfArray = NDArray[np.float16]

FORMAT_VERSION = 1
HEADER, COMPLETE = "cache.json", "complete.json"


@dataclass(frozen=True)
class CacheHeader:
    """What all features of a cache have in common.

    Attributes:
        encoder: spec of the encoder as plain values, with "dim", and "stride" where there are no windows.
        encoder_digest: over spec and weights.
        rate_hz: frames a second that clips were brought to.
        num_variants: per clip; variant 0 shows the whole pictures, the others crops of them.
        flip: share of the other variants that are mirrored.
        windows: how windows lie, where the features are those of sliding windows; None where they are of steps around
            every so many frames, see slr.features.encoders.
    """

    encoder: dict[str, Any]
    encoder_digest: str
    rate_hz: float
    num_variants: int = 1
    flip: float = 0.0
    windows: SlidingWindows | None = None

    @property
    def stride(self) -> int:
        """Frames from one row to the next; where windows were left out, they are further apart."""
        return int(self.encoder["stride"]) if self.windows is None else self.windows.stride

    def difference(self, other: CacheHeader) -> str:
        """What sets two headers apart, in words; empty where nothing does."""
        mine, others = ({**vars(header)} for header in (self, other))
        if self.encoder_digest == other.encoder_digest:
            mine.pop("encoder"), others.pop("encoder")
        changed = [key for key in mine if mine[key] != others[key]]
        # Windows name themselves.
        labels = {key: "" if key == "windows" else f"{key} " for key in changed}
        found = [f"{labels[key]}{_short(others[key])} instead of {_short(mine[key])}" for key in changed]
        return "; ".join(found)


class Entry(NamedTuple):
    """Where the features of one variant of one clip lie.

    Attributes:
        id: of the clip.
        variant: 0 is the clip as it is.
        start_seconds: of the span.
        end_seconds: of the span; None = the end of the file.
        sha256: of the media file, "" where the manifest doesn't say.
        num_frames: frames that were read.
        offset: first row in the shard.
        num_steps: rows.
    """

    id: str
    variant: int
    start_seconds: float
    end_seconds: float | None
    sha256: str
    num_frames: int
    offset: int
    num_steps: int

    def is_of(self, clip: Clip) -> bool:
        """Whether this is the clip, and not another span or another file under its id."""
        same_file = not (self.sha256 and clip.sha256) or self.sha256 == clip.sha256
        return same_file and (self.start_seconds, self.end_seconds) == (clip.start_seconds, clip.end_seconds)


def read_header(folder: Path) -> CacheHeader:
    """What a cache holds.

    Raises:
        ArtefactError: not a cache, or of another version.
    """
    content = read_json(folder / HEADER)
    try:
        version, windows = content.pop("format_version"), content.pop("windows", None)
        header = CacheHeader(**content, windows=None if windows is None else SlidingWindows(**windows))
        int(header.encoder["dim"]), int(header.stride)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder / HEADER}: not a feature cache ({error}); delete the folder") from error
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{folder}: feature cache of version {version}, this toolkit reads {FORMAT_VERSION}")
    return header


def read_problems(marker: Path) -> dict[str, str]:
    """Clips that failed in the last build, with reasons; `marker` is the file that says it was complete."""
    return {str(name): str(reason) for name, reason in read_json(marker).get("problems", {}).items()}


def read_index(path: Path, dim: int) -> list[Entry]:
    content = read_json(path)
    data = path.with_suffix(".npy")
    try:
        entries = [Entry(*values) for values in content["entries"]]
        num_bytes, num_rows = int(content["num_bytes"]), int(content["num_rows"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: not the list of a shard ({error}); delete it and build again") from error
    size = data.stat().st_size if data.is_file() else -1
    if size != num_bytes or size < 2 * num_rows * dim or sum(entry.num_steps for entry in entries) != num_rows:
        raise ArtefactError(
            f"{data}: {'missing' if size < 0 else f'{size} bytes'} instead of {num_bytes} bytes; delete {path.name} "
            "and run `slr features` again, it makes these clips anew"
        )
    return entries


def _short(value: Any) -> str:
    if value is None or isinstance(value, SlidingWindows):
        return str(value or "steps")
    text = str(value["name"]) if isinstance(value, dict) and "name" in value else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
