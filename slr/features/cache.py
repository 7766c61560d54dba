"""Features of a frozen encoder on disk: half precision, memory-mapped, complete or refused.

FOLDER/
  cache.json       which encoder (spec and digest), frame rate, variants per clip
  shard-00000.npy  (sum of steps, D) float16, the clips' features one after the other
  shard-00000.json what lies in it: clip, span, variant, offset, steps; written after the .npy, so that what a killed
                   run leaves behind is not looked at
  complete.json    written last, and removed when a build begins: clips that failed, with reasons

A clip is found by its id, and its span is compared; `Clip.sha256` too, where the manifest has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.manifest import Clip
from signwave.rundir import read_json, sha256_file
from slr.reading import Reading

HalfArray = NDArray[np.float16]
FloatArray = NDArray[np.float32]

FORMAT_VERSION = 1
HEADER, COMPLETE = "cache.json", "complete.json"


@dataclass(frozen=True)
class CacheHeader:
    """What all features of a cache have in common.

    Attributes:
        encoder: spec of the encoder as plain values, see slr.features.encoders.EncoderSpec.
        encoder_digest: over spec and weights.
        rate_hz: frames a second that clips were brought to.
        num_variants: per clip; variant 0 shows the whole pictures, the others crops of them.
        flip: share of the other variants that are mirrored.
    """

    encoder: dict[str, Any]
    encoder_digest: str
    rate_hz: float
    num_variants: int = 1
    flip: float = 0.0

    def difference(self, other: CacheHeader) -> str:
        """What sets two headers apart, in words; empty where nothing does."""
        mine, others = asdict(self), asdict(other)
        if self.encoder_digest == other.encoder_digest:
            mine.pop("encoder"), others.pop("encoder")
        found = [f"{key} {_short(others[key])} instead of {_short(mine[key])}" for key in mine
                 if mine[key] != others[key]]  # fmt: skip
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
        stride: frames per step.
    """

    def __init__(self, folder: Path, header: CacheHeader, problems: dict[str, str]) -> None:
        self.folder, self.header, self.problems = folder, header, problems
        self.dim, self.stride = int(header.encoder["dim"]), int(header.encoder["stride"])
        self._found: dict[tuple[str, int], tuple[str, Entry]] = {}
        self._mapped: dict[str, HalfArray] = {}
        for path in sorted(folder.glob("shard-*.json")):
            for entry in _read_index(path, self.dim):
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

    def num_steps(self, clip: Clip) -> int:
        """T' of a clip, without touching its features; raises as `get`."""
        return self._check(clip, 0).num_steps

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
        cache: of the manifest's clips.
    """

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache

    def __call__(self, clip: Clip, *, seed: int | None = None) -> Reading:
        """The features as `inputs`, (T', D) float16; a seed chooses among the variants, None takes the plain one."""
        variant = 0 if seed is None else variant_of(seed, self.cache.header.num_variants)
        features = self.cache.get(clip, variant=variant)
        # A copy: tensors must not lie on a mapping that is read-only.
        return Reading(np.array(features), None, len(features) * self.cache.stride / self.cache.header.rate_hz)


def read_header(folder: Path) -> CacheHeader:
    """What a cache holds.

    Raises:
        ArtefactError: not a cache, or of another version.
    """
    content = read_json(folder / HEADER)
    try:
        version = content.pop("format_version")
        header = CacheHeader(**content)
        int(header.encoder["dim"]), int(header.encoder["stride"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder / HEADER}: not a feature cache ({error}); delete the folder") from error
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{folder}: feature cache of version {version}, this toolkit reads {FORMAT_VERSION}")
    return header


def read_problems(marker: Path) -> dict[str, str]:
    """Clips that failed in the last build, with reasons; `marker` is the file that says it was complete."""
    return {str(name): str(reason) for name, reason in read_json(marker).get("problems", {}).items()}


def _read_index(path: Path, dim: int) -> list[Entry]:
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
    text = str(value["name"]) if isinstance(value, dict) and "name" in value else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
