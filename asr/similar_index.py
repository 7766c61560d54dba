"""Windows of clips in an index that is kept and grows: what was embedded once is not embedded again.

A row is named by what it was made of (file, its size and time of change, span) and not by a clip's id, so manifests
that list the same recording share rows, and a changed file is embedded anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from asr.features import SAMPLE_RATE_HZ
from asr.similar_sound import FRAMES_PER_SECOND, Floats, Window
from signwave import command
from signwave.command import Failure
from signwave.errors import MediaError, UserError
from signwave.index import Index
from signwave.manifest import Clip
from signwave.media.audio import iter_audio

_CHUNK_SECONDS = 30.0
_ROWS_AT_ONCE = 4096


class ClipEmbedder(Protocol):
    """Turns sound into vectors: `asr.similar_sound.Fingerprint`, or those of `asr.similar_domain`."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""

    @property
    def has_tokens(self) -> bool:
        """True if windows have tokens."""

    @property
    def digest(self) -> str:
        """Says which embedder it is: its settings and weights. Vectors of another one are refused."""

    def windows(self, chunks: Iterable[Floats]) -> list[Window]:
        """Windows of one clip, from consecutive stretches (S,) float32 at 16 kHz; empty if nothing can be heard."""


@dataclass(frozen=True)
class Embedded:
    """Some clips and where their rows are.

    Attributes:
        clips: as they were given.
        stamps: what each clip's rows are found by, "" for clips that failed or gave no window.
        failures: clips that could not be read.
        silent: ids of clips in which nothing can be heard.
        num_new: clips that were embedded now.
    """

    clips: list[Clip] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    num_new: int = 0


class ClipIndex:
    """An index of windows and the embedder that makes them.

    A window is named by its id in the index; what is known about windows is held in memory, their vectors and tokens
    are read when they are needed.
    """

    def __init__(self, index: Index, embedder: ClipEmbedder) -> None:
        self.index = index
        self.embedder = embedder
        self._windows: dict[str, list[str]] = {}
        self._origin: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._values: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, int] = {}
        ids = index.ids
        self._find_rows(ids)
        for identity, values in zip(ids, index.payloads(list(self._rows.values())), strict=True):
            self._remember(identity, values)

    def _remember(self, identity: str, values: dict[str, Any]) -> None:
        stamp = values["stamp"]
        self._values[identity] = values
        self._windows.setdefault(stamp, []).append(identity)
        self._origin[values["origin"]] = stamp
        self._seconds[stamp] = max(self._seconds.get(stamp, 0.0), values["end_seconds"])

    def _find_rows(self, ids: Sequence[str]) -> None:
        rows = {identity: self.index.row_of(identity) for identity in ids}
        self._rows = {identity: row for identity, row in rows.items() if row is not None}

    @property
    def stamps(self) -> set[str]:
        """Of all recordings that have a window."""
        return set(self._windows)

    def windows(self, stamp: str) -> list[str]:
        """Windows of a recording, in order of time."""
        return sorted(self._windows.get(stamp, []))

    def stamp(self, window: str) -> str:
        """The recording of a window."""
        return str(self._values[window]["stamp"])

    def span(self, window: str) -> tuple[float, float]:
        """Start and end of a window in its recording, in seconds."""
        values = self._values[window]
        return float(values["start_seconds"]), float(values["end_seconds"])

    def seconds(self, stamp: str) -> float:
        """Length of a recording, up to the end of its last window."""
        return self._seconds[stamp]

    def vector(self, window: str) -> Floats:
        """Stage 1 of a window: (D,) float32."""
        return self.index.vector(self._rows[window])

    def tokens(self, window: str) -> Floats:
        """Stage 2 of a window: (T, D') float16."""
        tokens: Floats = self.index.tokens(self._rows[window])
        return tokens

    def surroundings(self, window: str, margin_seconds: float) -> tuple[float, Floats]:
        """A window with what lies around it, joined from its neighbours.

        Args:
            window: its id.
            margin_seconds: how much on either side; less at the ends of the recording.

        Returns:
            start in the recording in seconds, and (T, D') float32 tokens; what no window holds has the lowest value.
        """
        begin, end = self.span(window)
        parts = []
        for other in self.windows(self.stamp(window)):
            start, stop = self.span(other)
            if stop > begin - margin_seconds and start < end + margin_seconds:
                parts.append((round(start * FRAMES_PER_SECOND), self.tokens(other)))
        first = min(place for place, _ in parts)
        lowest = min(float(tokens.min()) for _, tokens in parts)
        size = max(place - first + len(tokens) for place, tokens in parts)
        joined = np.full((size, parts[0][1].shape[1]), lowest, dtype=np.float32)
        for place, tokens in parts:
            joined[place - first : place - first + len(tokens)] = tokens
        return first / FRAMES_PER_SECOND, joined

    def embed(self, clips: Sequence[Clip], *, quiet: bool = True) -> Embedded:
        """Embed clips that the index doesn't hold yet; files that can't be read are named, the rest is done."""
        stamps, silent, failures, num_new = [], [], [], 0
        waiting: list[tuple[str, Window, dict[str, Any]]] = []
        for clip in command.progress(clips, "embedding", quiet=quiet):
            try:
                stamp, origin = _stamp(clip)
                if stamp not in self._windows:
                    windows = self.embedder.windows(_chunks(clip))
                    self._forget(self._origin.get(origin, ""))
                    for number, window in enumerate(windows):
                        identity, values = f"{stamp}-{number:06d}", _payload(clip, stamp, origin, window)
                        waiting.append((identity, window, values))
                        self._remember(identity, values)
                    num_new += 1
                    if not windows:
                        silent.append(clip.id)
            except UserError as error:
                failures.append(Failure.of(clip.path, error))
                stamp = ""
            stamps.append(stamp if stamp in self._windows else "")
            if len(waiting) >= _ROWS_AT_ONCE:
                self._write(waiting)
        self._write(waiting)
        if num_new and self.index.info()["advice"] is not None:
            self.index.compact()
        self._find_rows(list(self._values))
        return Embedded(list(clips), stamps, failures, silent, num_new)

    def _forget(self, stamp: str) -> None:
        """Delete the rows of a file as it was before it changed."""
        gone = self._windows.pop(stamp, [])
        for identity in gone:
            del self._values[identity]
        if gone:
            self.index.delete(gone, missing_ok=True)

    def _write(self, waiting: list[tuple[str, Window, dict[str, Any]]]) -> None:
        if waiting:
            ids, windows, payload = zip(*waiting, strict=True)
            self.index.upsert(
                np.stack([window.vector for window in windows]),
                list(ids),
                list(payload),
                tokens=[window.tokens for window in windows] if self.embedder.has_tokens else None,
            )
            waiting.clear()


def _payload(clip: Clip, stamp: str, origin: str, window: Window) -> dict[str, Any]:
    return {
        "stamp": stamp,
        "origin": origin,
        "path": clip.path,
        "start_seconds": round(window.start_seconds, 3),
        "end_seconds": round(window.end_seconds, 3),
    }


def _stamp(clip: Clip) -> tuple[str, str]:
    """Names of a span of a file: as it is now, and whatever it holds.

    Raises:
        MediaError: there is no such file.
    """
    try:
        state = Path(clip.path).stat()
    except OSError as error:
        raise MediaError(clip.path, f"can't be read ({error.strerror}); correct the manifest", kind="missing") from None
    origin = _digest(str(Path(clip.path).resolve()), clip.start_seconds, clip.end_seconds)
    return _digest(origin, state.st_size, state.st_mtime_ns), origin


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _chunks(clip: Clip) -> Iterator[Floats]:
    return iter_audio(
        clip.path,
        chunk_seconds=_CHUNK_SECONDS,
        start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
        rate_hz=SAMPLE_RATE_HZ,
        on_nan="zero",
    )


@contextmanager
def open_clip_index(
    folder: str | Path | None, embedder: ClipEmbedder, *, metric: Any = "cosine"
) -> Iterator[ClipIndex]:
    """Open an index of windows, made if it isn't there; without a folder it lives until the block ends.

    Raises:
        ArtefactError: the folder holds an index of another embedder, or something else.
    """
    with tempfile.TemporaryDirectory(prefix="signwave-") as temporary:
        path = Path(folder) if folder is not None else Path(temporary) / "index"
        if (path / "CURRENT").exists():
            index = Index.open(path, expect_model=embedder.digest, check_tokens=False)
        else:
            nothing = np.zeros((0, embedder.dim), dtype=np.float32)
            tokens: list[Any] | None = [] if embedder.has_tokens else None
            index = Index.build(
                path, nothing, [], [], metric=metric, info={"model_digest": embedder.digest}, tokens=tokens
            )
        yield ClipIndex(index, embedder)
