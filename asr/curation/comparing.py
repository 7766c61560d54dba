"""Copies among segments and of test recordings, and closeness to a target domain: measured once, kept as tables.

The vectors are kept in index folders beside the tables, so that a later run embeds only what is new. A table is made
anew only if the segments or the other side have changed.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asr.similar_index import ClipEmbedder, open_clip_index
from asr.similar_nearest import choices_table, nearest_to
from asr.similar_sound import Fingerprint
from asr.similarity import Pair, find_near_duplicates, table
from signwave import manifest, rundir
from signwave.command import Failure
from signwave.errors import ArtefactError
from signwave.manifest import Clip

LOWEST_SCORE = 0.7
"""Pairs below it are not kept: `keep.duplicate_score` can't be lower."""
_COPIES, _LEAKS, _CLOSENESS = "copies.tsv", "leaks.tsv", "closeness.tsv"


class Copy(NamedTuple):
    """Two recordings that share sound.

    id, other_id: of the clips.
    score: of the best windows, up to 1.
    shared_seconds: how much of the first lies in the other.
    shorter_seconds: length of the shorter one.
    """

    id: str
    other_id: str
    score: float
    shared_seconds: float
    shorter_seconds: float


def find_copies(
    folder: Path, clips: Sequence[Clip], against: Sequence[Path], *, quiet: bool
) -> tuple[list[Failure], bool]:
    """Compare the segments with each other and with dev and test manifests.

    Args:
        folder: gets `copies.tsv`, `leaks.tsv` (ids of the manifests as `FILE: id`) and the index `sound_index`.
        clips: the segments.
        against: manifests; what can't be read of them is told.
        quiet: no progress on stderr.

    Returns:
        Failures of the manifests' recordings, and whether anything was computed.
    """
    others = [(path, clip) for path in against for clip in manifest.read(path)]
    key = _key(clips, [clip for _, clip in others], Fingerprint().digest)
    if _is_fresh(folder / _LEAKS, key):
        return [], False
    with open_clip_index(folder / "sound_index", Fingerprint()) as index:
        within = find_near_duplicates(index, clips, threshold=LOWEST_SCORE, quiet=quiet)
        leaks, sides = [], [within.embedded]
        if others:
            renamed = [_renamed(path, clip) for path, clip in others]
            across = find_near_duplicates(index, clips, against=renamed, threshold=LOWEST_SCORE, quiet=quiet)
            leaks, sides = across.pairs, [within.embedded, *([across.against] if across.against else [])]
        seconds = {
            clip.id: index.seconds(stamp)
            for side in sides
            for clip, stamp in zip(side.clips, side.stamps, strict=True)
            if stamp
        }
    _write(folder / _COPIES, within.pairs, seconds)
    _write(folder / _LEAKS, leaks, seconds)
    failures = [failure for side in sides for failure in side.failures]
    if not failures:
        _set_fresh(folder / _LEAKS, key)
    return failures, True


def find_closeness(
    folder: Path, clips: Sequence[Clip], near: Sequence[Path], embedder: ClipEmbedder, *, quiet: bool
) -> tuple[list[Failure], bool]:
    """Score every segment by how close it is to the recordings of some manifests; see `asr.similar_nearest`.

    Args:
        folder: gets `closeness.tsv` and the index `domain_index`.
        clips: the segments.
        near: manifests of the target domain.
        embedder: turns a clip into one vector.
        quiet: no progress on stderr.

    Returns:
        Failures of the manifests' recordings, and whether anything was computed.
    """
    reference = [clip for path in near for clip in manifest.read(path)]
    key = _key(clips, reference, embedder.digest)
    if not clips or _is_fresh(folder / _CLOSENESS, key):
        return [], False
    with open_clip_index(folder / "domain_index", embedder, metric="inner_product") as index:
        found = nearest_to(index, clips, reference, k=len(clips), quiet=quiet)
    rundir.atomic_write(folder / _CLOSENESS, choices_table(found.choices))
    failures = [*found.pool.failures, *found.reference.failures]
    if not failures:
        _set_fresh(folder / _CLOSENESS, key)
    return failures, True


def read_copies(folder: Path) -> list[Copy]:
    """Pairs of segments; none if they were not compared."""
    return _read(folder / _COPIES)


def read_leaks(folder: Path) -> list[Copy]:
    """Pairs of a segment and a recording of a dev or test manifest; none if there was nothing to compare with."""
    return _read(folder / _LEAKS)


def read_closeness(folder: Path) -> dict[str, float]:
    """Closeness by id of a segment; none if there is no target domain."""
    path = folder / _CLOSENESS
    if not path.exists():
        return {}
    return {row["id"]: float(row["score"]) for row in _rows(path)}


def _renamed(path: Path, clip: Clip) -> Clip:
    return Clip(
        id=f"{path}: {clip.id}", path=clip.path, kind=clip.kind, start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
    )  # fmt: skip


def _write(path: Path, pairs: Iterable[Pair], seconds: Mapping[str, float]) -> None:
    rows = (
        Copy(pair.id, pair.other_id, pair.score, pair.shared_seconds, min(seconds[pair.id], seconds[pair.other_id]))
        for pair in pairs
    )
    rundir.atomic_write(path, table(Copy._fields, rows))


def _read(path: Path) -> list[Copy]:
    if not path.exists():
        return []
    numbers = ("score", "shared_seconds", "shorter_seconds")
    return [Copy(row["id"], row["other_id"], *(float(row[name]) for name in numbers)) for row in _rows(path)]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        if any(None in row.values() for row in rows):
            raise ValueError("a row is too short")
    except (OSError, ValueError, csv.Error) as error:
        raise ArtefactError(f"{path}: can't be read ({error}); delete it and run again without --rescreen") from error
    return rows


def _key(clips: Sequence[Clip], others: Sequence[Clip], embedder: str) -> str:
    digest = hashlib.sha256(embedder.encode())
    for clip in (*clips, *others):
        path = Path(clip.path)
        state = path.stat() if path.exists() else None
        facts = (clip.id, clip.path, clip.start_seconds, clip.end_seconds, state and (state.st_size, state.st_mtime_ns))
        digest.update(repr(facts).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _is_fresh(path: Path, key: str) -> bool:
    note = path.with_suffix(".key")
    return path.exists() and note.exists() and note.read_text(encoding="utf-8") == key


def _set_fresh(path: Path, key: str) -> None:
    rundir.atomic_write(path.with_suffix(".key"), key)
