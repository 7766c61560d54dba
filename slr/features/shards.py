"""Writing a feature cache: shard by shard, what isn't whole never counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from signwave.errors import ArtefactError, ManifestError
from signwave.manifest import Clip
from signwave.rundir import atomic_path, sha256_file, write_json
from slr.features.cache_files import (
    COMPLETE,
    FORMAT_VERSION,
    HEADER,
    CacheHeader,
    Entry,
    HalfArray,
    read_header,
    read_problems,
)


class Shards:
    """Writes a cache; the caller holds the folder's lock.

    Args:
        folder: of the cache.
        header: checked against the one that lies there, or written.
        max_bytes: features held in memory before they become a shard.

    Raises:
        ArtefactError: the folder holds features of another encoder, rate or number of variants.
    """

    def __init__(self, folder: Path, header: CacheHeader, *, max_bytes: int) -> None:
        self._folder, self._max_bytes, self._dim = folder, max_bytes, int(header.encoder["dim"])
        if (folder / HEADER).is_file():
            difference = read_header(folder).difference(header)
            if difference:
                raise ArtefactError(f"{folder}: holds other features ({difference}); give another folder or delete it")
        else:
            write_json(folder / HEADER, {"format_version": FORMAT_VERSION, **asdict(header)})
        numbers = [int(path.stem.removeprefix("shard-")) for path in folder.glob("shard-*.json")]
        self._next = max(numbers, default=-1) + 1
        self._entries: list[Entry] = []
        self._parts: list[HalfArray] = []
        self._num_rows = 0

    def begin(self) -> dict[str, str]:
        """From now on the cache isn't complete. Returns the clips that failed before, with reasons."""
        marker = self._folder / COMPLETE
        problems = read_problems(marker) if marker.is_file() else {}
        marker.unlink(missing_ok=True)
        return problems

    def add(self, clip: Clip, variant: int, features: HalfArray, *, num_frames: int) -> None:
        """Take the features (T', D) of one variant; they are on disk after the next `flush`."""
        if features.dtype != np.float16 or features.ndim != 2 or features.shape[1] != self._dim:
            raise ValueError(f"features must be (T, {self._dim}) float16, got {features.shape} {features.dtype}")
        span = (clip.start_seconds, clip.end_seconds, clip.sha256)
        self._entries.append(Entry(clip.id, variant, *span, num_frames, self._num_rows, len(features)))
        self._parts.append(features)
        self._num_rows += len(features)
        if 2 * self._num_rows * self._dim >= self._max_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what was taken as a shard: first the features, then the list that makes them count."""
        if not self._entries:
            return
        path = self._folder / f"shard-{self._next:05d}.npy"
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array(file, np.concatenate(self._parts), allow_pickle=False)
        index = {
            "num_bytes": path.stat().st_size,
            "num_rows": self._num_rows,
            "sha256": sha256_file(path),
            "entries": [list(entry) for entry in self._entries],
        }
        write_json(path.with_suffix(".json"), index)
        self._next += 1
        self._entries, self._parts, self._num_rows = [], [], 0

    def finish(self, problems: dict[str, str]) -> None:
        """Everything that was asked for is there or named in `problems`."""
        self.flush()
        write_json(self._folder / COMPLETE, {"problems": problems})


def check_ids(clips: Iterable[Clip]) -> list[Clip]:
    """The clips as a list.

    Raises:
        ManifestError: an id occurs twice.
    """
    found = list(clips)
    seen: set[str] = set()
    for clip in found:
        if clip.id in seen:
            raise ManifestError(f"id '{clip.id}' occurs more than once; features are found by id, so ids must differ")
        seen.add(clip.id)
    return found
