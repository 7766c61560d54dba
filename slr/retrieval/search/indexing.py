"""Clips into an index: read, embedded, and written with what a search tells of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from signwave.command import Failure
from signwave.errors import ManifestError, MediaError, UserError
from signwave.index.interface import VectorIndex
from signwave.index.moving import is_milvus
from signwave.manifest import Clip
from slr.keypoints.hand_transforms import FloatArray
from slr.models.dual_encoder import Embedded
from slr.retrieval.clip_reading import ReadClip
from slr.retrieval.search.choosing import choose_stage
from slr.retrieval.search.retriever import Retriever, home_of
from slr.retrieval.search.stage_one import StageOne
from slr.retrieval.stored import KIND

_CLIPS_AT_ONCE = 64
_VECTORS_AT_ONCE = 4096


@dataclass(frozen=True)
class IndexOptions:
    """How an index is built.

    Attributes:
        kind: of the FAISS index, see `signwave.index`.
        stage_one: pooled, mean, landmarks, or auto, which measures them on the clips and their captions.
        token_dtype: float16, or int8 for half the size.
        tags: further payload of every clip, to filter by; "corpus", say.
    """

    kind: str = "auto"
    stage_one: str = "auto"
    token_dtype: str = "float16"
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Indexed:
    """What became of the clips of a manifest.

    Attributes:
        num_done: clips in the index.
        failures: clips that couldn't be read.
        reason: why the index searches as it does.
    """

    num_done: int
    failures: tuple[Failure, ...]
    reason: str = ""


class Rows(NamedTuple):
    """Embedded clips.

    tokens: of each clip (M, D) float16, views of a temporary file.
    pooled: (N, D) float32.
    """

    ids: list[str]
    payload: list[dict[str, Any]]
    tokens: list[NDArray[np.float16]]
    pooled: FloatArray

    def embedded(self, chosen: Sequence[int]) -> Embedded:
        """Some of the clips, padded."""
        sizes = torch.tensor([len(self.tokens[row]) for row in chosen], dtype=torch.int64)
        padded = torch.zeros(len(chosen), int(sizes.max()), self.tokens[0].shape[1])
        for place, row in enumerate(chosen):
            padded[place, : len(self.tokens[row])] = torch.from_numpy(self.tokens[row].astype(np.float32))
        return Embedded(padded, sizes, torch.from_numpy(self.pooled[list(chosen)]))


def build(
    retriever: Retriever, place: str | Path, clips: Iterable[Clip], options: IndexOptions | None = None
) -> Indexed:
    """Index clips, replacing what was there; a clip that can't be read is named and left out.

    Args:
        retriever: the model.
        place: a folder that is new, empty or an index, or a place of Milvus.
        clips: rows of a manifest.
        options: see there.

    Raises:
        ManifestError: two rows have the same id.
        UserError: no clip could be read.
    """
    options = options or IndexOptions()
    home = Path.cwd() if is_milvus(place) else Path(place)
    with tempfile.TemporaryFile() as spool:
        rows, failures = embed_rows(retriever, clips, spool, home=home, tags=options.tags)
        choice = choose_stage(retriever, rows, options.stage_one)
        info = {
            "model_digest": retriever.digest,
            "model_path": os.path.relpath(retriever.folder, home),
            "model_kind": KIND,
            **choice.info,
            **({"home": str(home)} if is_milvus(place) else {}),
        }
        built = _write(
            place,
            _vectors(choice.stage, rows),
            rows.ids,
            rows.payload,
            kind=options.kind,
            metric=choice.stage.metric,
            info=info,
            tokens=rows.tokens,
            token_dtype=options.token_dtype,
            queries=choice.queries,
        )
    return Indexed(len(rows.ids), failures, _reason(built))


def change(
    retriever: Retriever,
    index: VectorIndex,
    clips: Iterable[Clip],
    *,
    replace: bool,
    tags: Mapping[str, str] | None = None,
) -> Indexed:
    """Add clips to an index.

    Args:
        retriever: the model of the index.
        index: open.
        clips: rows of a manifest.
        replace: clips that are there already are replaced; False makes them an error before anything changes.
        tags: further payload of every clip.

    Raises:
        ArtefactError: an id is there already.
        ManifestError, UserError: as for `build`.
    """
    stage = retriever.stage_of(index)
    with tempfile.TemporaryFile() as spool:
        rows, failures = embed_rows(retriever, clips, spool, home=home_of(index), tags=tags)
        write = index.upsert if replace else index.add
        write(_vectors(stage, rows), rows.ids, rows.payload, tokens=rows.tokens)
    return Indexed(len(rows.ids), failures)


def embed_rows(
    retriever: Retriever, clips: Iterable[Clip], spool: IO[bytes], *, home: Path, tags: Mapping[str, str] | None
) -> tuple[Rows, tuple[Failure, ...]]:
    """Read and embed clips; one that can't be read is named and left out.

    Args:
        retriever: the model.
        clips: rows of a manifest.
        spool: temporary file for the tokens, which may be larger than the memory.
        home: folder that paths are noted relative to, so that a tree of clips and index can be moved as a whole.
        tags: further payload of every clip.
    """
    payload: list[dict[str, Any]] = []
    pooled: list[FloatArray] = []
    sizes: list[int] = []
    ids: list[str] = []
    failures: list[Failure] = []
    for pending in _batches(retriever, _unique(clips), failures):
        embedded = retriever.embed_clips([read for _, read in pending])
        pooled.append(embedded.pooled.float().cpu().numpy())
        tokens = embedded.tokens.half().cpu().numpy()
        for place, (clip, read) in enumerate(pending):
            size = int(embedded.num_tokens[place])
            spool.write(tokens[place, :size].tobytes())
            sizes.append(size)
            ids.append(clip.id)
            payload.append(_payload(clip, read, home) | dict(tags or {}))
    if not ids:
        first = f"; the first: {failures[0].message}" if failures else "; the manifest has no row"
        raise UserError(f"none of {len(failures)} clips could be indexed{first}")
    spool.flush()
    flat = np.memmap(spool, dtype=np.float16, mode="r").reshape(sum(sizes), -1)
    ends = np.cumsum(sizes)
    views = [flat[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return Rows(ids, payload, views, np.concatenate(pooled)), tuple(failures)


def _batches(
    retriever: Retriever, clips: Iterable[Clip], failures: list[Failure]
) -> Iterator[list[tuple[Clip, ReadClip]]]:
    pending: list[tuple[Clip, ReadClip]] = []
    for clip in clips:
        try:
            pending.append((clip, retriever.clips.read(clip)))
        except MediaError as error:
            failures.append(Failure.of(clip.path, error))
            continue
        if len(pending) == _CLIPS_AT_ONCE:
            yield pending
            pending = []
    if pending:
        yield pending


def _payload(clip: Clip, read: ReadClip, home: Path) -> dict[str, Any]:
    """What a search tells of a clip, and what it can be filtered by."""
    found = {
        "path": os.path.relpath(clip.path, home),
        "end_seconds": round(read.end_seconds, 3),
        "times": [[round(time, 3) for time in span] for span in read.times],
        "text": clip.text,
        "language": clip.language,
        "person": clip.person,
        "group": clip.group,
        "date": clip.date,
        "split": clip.split,
        "seconds": round(read.end_seconds - clip.start_seconds, 3),
        "captions": dict(clip.captions),
    }
    return found


def _vectors(stage: StageOne, rows: Rows) -> FloatArray:
    """(N, F) float32, the stage-1 vector of every clip, some thousand at a time."""
    parts = []
    for start in range(0, len(rows.ids), _VECTORS_AT_ONCE):
        some = range(start, min(start + _VECTORS_AT_ONCE, len(rows.ids)))
        parts.append(np.asarray(stage.clip_vectors(rows.embedded(some)), dtype=np.float32))
    return np.concatenate(parts)


def _write(place: str | Path, *parts: Any, kind: Any, queries: Any, **options: Any) -> VectorIndex:
    """A new index in a folder or in Milvus, which tunes itself."""
    if is_milvus(place):
        from signwave.index.milvus.index import MilvusIndex

        return MilvusIndex.build(str(place), *parts, kind=kind, **options)
    from signwave.index import Index

    return Index.build(place, *parts, kind=kind, queries=queries, **options)


def _reason(index: VectorIndex) -> str:
    """Why an index searches as it does, in one sentence or two."""
    facts = index.info()
    found = [facts["info"].get("stage_one_reason", ""), facts.get("choice", {}).get("reason", "")]
    return "; ".join(reason for reason in found if reason)


def _unique(clips: Iterable[Clip]) -> Iterator[Clip]:
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise ManifestError(f"the id '{clip.id}' is there twice; every clip of an index needs its own id")
        seen.add(clip.id)
        yield clip
