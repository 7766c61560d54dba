"""Features of a frozen encoder on disk: half precision, memory-mapped, complete or refused.

FOLDER/
  cache.json       which encoder (spec and digest), frame rate, variants per clip, which windows
  shard-00000.npy  (sum of steps, D) float16, the clips' features one after the other
  shard-00000.json what lies in it: clip, span, variant, offset, steps; written after the .npy, so that what a killed
                   run leaves behind is not looked at
  complete.json    written last, and removed when a build begins: clips that failed, with reasons

A clip is found by its id, and its span is compared; `Clip.sha256` too, where the manifest has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.manifest import Clip
from signwave.rundir import read_json, sha256_file
from slr.features.cache_files import (
    COMPLETE,
    HEADER,
    CacheHeader,
    Entry,
    HalfArray,
    read_header,
    read_index,
    read_problems,
)
from slr.features.windows import SlidingWindows
from slr.reading import Reading

FloatArray = NDArray[np.float32]


class FeatureCache:
    """Read access; can be sent to loader workers, each of which maps the shards itself.

    >>> cache = FeatureCache.open("features/resnet18")      # doctest: +SKIP
    >>> cache["clip-1"].shape                               # doctest: +SKIP
    (143, 512)

    Attributes:
        folder: where it lies.
        header: which encoder, rate and variants.
        problems: clip → why it has no features.
        dim: D.
        stride: frames per step, or from one window to the next.
    """

    def __init__(self, folder: Path, header: CacheHeader, problems: dict[str, str]) -> None:
        self.folder, self.header, self.problems = folder, header, problems
        self.dim, self.stride = int(header.encoder["dim"]), header.stride
        self._found: dict[tuple[str, int], tuple[str, Entry]] = {}
        self._mapped: dict[str, HalfArray] = {}
        for path in sorted(folder.glob("shard-*.json")):
            for entry in read_index(path, self.dim):
                self._found[entry.id, entry.variant] = (path.stem, entry)

    @classmethod
    def open(cls, folder: str | Path, *, partial: bool = False) -> FeatureCache:
        """Open a cache.

        Args:
            folder: as given to `slr features`.
            partial: also open one whose build was broken off.

        Raises:
            ArtefactError: there is none, it isn't complete, or it is damaged.
        """
        folder = Path(folder)
        if not (folder / HEADER).is_file():
            raise ArtefactError(f"{folder}: holds no {HEADER}; make features with `slr features MANIFEST {folder}`")
        marker = folder / COMPLETE
        cache = cls(folder, read_header(folder), read_problems(marker) if marker.is_file() else {})
        if not partial and not marker.is_file():
            raise ArtefactError(
                f"{folder}: its build was broken off after {len(cache)} clips; run the same `slr features` again, "
                "it goes on where it was"
            )
        return cache

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, clip_id: object) -> bool:
        return (clip_id, 0) in self._found

    def __getitem__(self, clip_id: str) -> HalfArray:
        """(T', D) float16, a view of the file: the clip's whole pictures."""
        return self._view(clip_id, 0)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {}}

    @property
    def windows(self) -> SlidingWindows | None:
        """Which windows of a clip its features are of; None where they are of steps."""
        return self.header.windows

    @property
    def ids(self) -> list[str]:
        """Clips whose variants are all there."""
        wanted = range(self.header.num_variants)
        return [name for name, variant in self._found if variant == 0 and all((name, v) in self._found for v in wanted)]

    def get(self, clip: Clip, *, variant: int = 0) -> HalfArray:
        """(T', D) float16, a view of the file.

        Args:
            clip: whose span is compared with the one that was encoded.
            variant: in [0, num_variants).

        Raises:
            ArtefactError: the clip isn't there, or another span or file was encoded under its id.
        """
        if not 0 <= variant < self.header.num_variants:
            raise ValueError(f"variant must be in [0, {self.header.num_variants}), got {variant}")
        self._check(clip, variant)
        return self._view(clip.id, variant)

    def select(self, clip: Clip, windows: SlidingWindows, *, variant: int = 0) -> HalfArray:
        """(M, D) float16, other windows than the cache was made for, where it has them; raises as `get`.

        All windows of stride 1 serve any choice of any stride.

        Raises:
            ArtefactError: some aren't there.
        """
        if self.windows is None:
            raise ArtefactError(f"{self.folder}: holds steps and no windows; make it with `slr features … --window 16`")
        try:
            rows = windows.rows_in(self.windows, self.num_frames(clip))
        except ValueError as error:
            raise ArtefactError(
                f"{self.folder}: {error}; make features of all windows with `slr features … --stride 1 --most 0`"
            ) from None
        found: HalfArray = self.get(clip, variant=variant)[rows]
        return found

    def require_steps(self) -> None:
        """Check that the rows of a clip lie `stride` frames apart.

        Raises:
            ArtefactError: they are of windows.
        """
        if self.windows is not None:
            raise ArtefactError(
                f"{self.folder}: holds {self.windows}, which retrieval reads; make features of steps with "
                "`slr features` without --window and --most"
            )

    def num_steps(self, clip: Clip) -> int:
        """T' of a clip, without touching its features; raises as `get`."""
        return self._check(clip, 0).num_steps

    def num_frames(self, clip: Clip) -> int:
        """Frames of a clip that were read, at the rate of the cache; raises as `get`."""
        return self._check(clip, 0).num_frames

    def has(self, clip: Clip) -> bool:
        """Whether all variants of this very span are there."""
        found = (self._found.get((clip.id, variant)) for variant in range(self.header.num_variants))
        return all(place is not None and place[1].is_of(clip) for place in found)

    def moments(self, clips: Sequence[Clip], *, num_clips: int = 500) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each value over steps, from at most `num_clips` clips spread over all.

        Returns:
            (D,) float32 and (D,) float32.
        """
        taken = clips[:: max(1, len(clips) // num_clips)]
        count, total, squares = 0, np.zeros(self.dim), np.zeros(self.dim)
        for clip in taken:
            features = self.get(clip).astype(np.float64)
            count += len(features)
            total += features.sum(0)
            squares += np.square(features).sum(0)
        mean = total / max(1, count)
        spread = np.sqrt(np.maximum(squares / max(1, count) - np.square(mean), 0))
        return mean.astype(np.float32), spread.astype(np.float32)

    def verify(self) -> None:
        """Hash every shard.

        Raises:
            ArtefactError: one was changed or damaged.
        """
        for path in sorted(self.folder.glob("shard-*.json")):
            if sha256_file(path.with_suffix(".npy")) != read_json(path)["sha256"]:
                raise ArtefactError(f"{path.with_suffix('.npy')}: damaged; delete it and {path.name}, and build again")

    def _check(self, clip: Clip, variant: int) -> Entry:
        _, entry = self._place(clip.id, variant)
        if not entry.is_of(clip):
            raise ArtefactError(
                f"{self.folder}: under '{clip.id}' lies the span [{entry.start_seconds}, {entry.end_seconds}) of "
                f"another version of the data, not [{clip.start_seconds}, {clip.end_seconds}); run `slr features` again"
            )
        return entry

    def _place(self, clip_id: str, variant: int) -> tuple[str, Entry]:
        try:
            return self._found[clip_id, variant]
        except KeyError:
            reason = self.problems.get(clip_id, "run `slr features` on its manifest with this folder")
            raise ArtefactError(f"{self.folder}: has no features of clip '{clip_id}': {reason}") from None

    def _view(self, clip_id: str, variant: int) -> HalfArray:
        name, entry = self._place(clip_id, variant)
        if name not in self._mapped:
            self._mapped[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return self._mapped[name][entry.offset : entry.offset + entry.num_steps]


def variant_of(seed: int, num_variants: int) -> int:
    """The variant that a training draw takes: a function of its seed alone."""
    return int(np.random.default_rng(seed).integers(num_variants))


class CachedFeatures:
    """Gives a data set its clips from a cache, as `slr.reading.read` gives them from files.

    Args:
        cache: of the manifest's clips, of steps.

    Raises:
        ArtefactError: its features are of windows.
    """

    def __init__(self, cache: FeatureCache) -> None:
        cache.require_steps()
        self.cache = cache

    def __call__(self, clip: Clip, *, seed: int | None = None) -> Reading:
        """The features as `inputs`, (T', D) float16; a seed chooses among the variants, None takes the plain one."""
        variant = 0 if seed is None else variant_of(seed, self.cache.header.num_variants)
        features = self.cache.get(clip, variant=variant)
        # A copy: tensors must not lie on a mapping that is read-only.
        return Reading(np.array(features), None, len(features) * self.cache.stride / self.cache.header.rate_hz)
