"""What one generation holds: written from plain arrays, and loaded again after its checksums were compared."""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from signwave import __version__
from signwave.errors import ArtefactError
from signwave.index import engine
from signwave.index.generation import Generation, current_number, publish, read_current
from signwave.index.rows import Payload, check_rows, read_rows, write_rows
from signwave.index.tokens import OFFSETS_NAME, TOKENS_NAME, TokenStore, read_tokens, write_tokens

KindChoice = Literal["auto", "flat", "hnsw", "ivf_sq8"]

_FORMAT = 1
_FAISS_NAME = "vectors.faiss"
_VECTORS_NAME = "vectors.npy"
_ROWS_NAME = "rows.jsonl.gz"
_MIN_ROWS_APPROXIMATE = 256
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Contents:
    """What is to be written.

    Attributes:
        vectors: (N, D) float32, unit length.
        ids: N unique texts.
        payload: N dicts of plain values.
        tokens: N matrices (M, D'), or None.
        model_digest: which model made the vectors.
        kind: as the user chose it.
        info: what else the user wants to keep, plain values.
    """

    vectors: NDArray[np.float32]
    ids: Sequence[str]
    payload: Sequence[Payload]
    tokens: Iterable[NDArray[Any]] | None
    model_digest: str
    kind: KindChoice
    info: Mapping[str, Any]

    @property
    def needed_bytes(self) -> int:
        """Room for the vectors twice (graph or byte codes come on top of them) and, if they are at hand, the tokens."""
        tokens = self.tokens if isinstance(self.tokens, Sequence) else ()
        return 2 * self.vectors.nbytes + sum(2 * int(matrix.size) for matrix in tokens) + (1 << 16)

    def write(self, folder: Path) -> Mapping[str, Any]:
        """Write all files but the manifest, and say what the manifest shall hold."""
        kind = actual_kind(self.kind, len(self.vectors))
        engine.write(engine.create(self.vectors, kind=kind), folder / _FAISS_NAME)
        if kind == "ivf_sq8":
            # Its codes are rounded: exact scores and the next compaction need the vectors as they were.
            with open(folder / _VECTORS_NAME, "wb") as file:
                np.lib.format.write_array(file, self.vectors, allow_pickle=False)
        write_rows(folder / _ROWS_NAME, self.ids, self.payload)
        if self.tokens is not None:
            write_tokens(folder, self.tokens, count=len(self.ids))
        return {
            "format": _FORMAT,
            "n": len(self.ids),
            "dim": self.vectors.shape[1],
            "metric": "cosine",
            "kind": kind,
            "requested_kind": self.kind,
            "model_digest": self.model_digest,
            "info": dict(self.info),
            "versions": {
                "signwave": __version__,
                "faiss": engine.faiss().__version__,
                "numpy": np.__version__,
            },
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }


@dataclass(frozen=True)
class Loaded:
    """A generation in memory.

    Attributes:
        generation: where it came from.
        faiss_index: the FAISS object.
        vectors: (N, D) float32, unit length, a view.
        ids: N ids.
        payload: N payloads.
        id_order: (N,) int64, place of each row's id among all ids in order of code points; breaks ties.
        row_of: row of each id.
        tokens: token matrices, or None.
    """

    generation: Generation
    faiss_index: Any
    vectors: NDArray[np.float32]
    ids: list[str]
    payload: list[Payload]
    id_order: NDArray[np.int64]
    row_of: Mapping[str, int]
    tokens: TokenStore | None

    @property
    def manifest(self) -> Mapping[str, Any]:
        return self.generation.manifest


def actual_kind(kind: KindChoice, count: int) -> engine.Kind:
    """The kind used for so many vectors: a handful needs no approximation, whatever was asked for."""
    if kind not in ("auto", *engine.KINDS):
        raise ValueError(f"kind must be one of auto, {', '.join(engine.KINDS)}, got {kind!r}")
    return "flat" if kind == "auto" or count < _MIN_ROWS_APPROXIMATE else kind


def check_vectors(vectors: NDArray[np.float32], *, name: str, dim: int | None = None) -> NDArray[np.float32]:
    """Vectors as FAISS wants them: contiguous (N, D) float32 of unit length.

    Raises:
        ValueError: another shape or type, or a row that is not finite or not of unit length.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] == 0 or dim not in (None, vectors.shape[1]):
        raise ValueError(f"{name} must be (N, {dim or 'D'}) float32, got {vectors.shape} {vectors.dtype}")
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))  # also true for NaN
    if len(wrong):
        raise ValueError(
            f"{name} must have unit length: {len(wrong)} of {len(vectors)} have not, the first is row {wrong[0]} "
            f"of length {lengths[wrong[0]]:.4g}; divide each by its norm"
        )
    return np.ascontiguousarray(vectors)


def checked_contents(
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    payload: Sequence[Payload],
    *,
    tokens: Iterable[NDArray[Any]] | None,
    kind: KindChoice,
    info: Mapping[str, Any],
) -> Contents:
    """Arguments of a build, refused if they can't be right."""
    vectors = check_vectors(vectors, name="vectors")
    check_rows(ids, payload, count=len(vectors))
    actual_kind(kind, len(vectors))
    rest = dict(info)
    digest = rest.pop("model_digest", None)
    if not isinstance(digest, str) or not digest:
        raise ValueError(
            f"info must hold 'model_digest', the digest of the model that made the vectors, got {digest!r}"
        )
    for key, actual in (("dim", vectors.shape[1]), ("metric", "cosine")):
        if rest.pop(key, actual) != actual:
            raise ValueError(f"info says {key} is {info[key]!r}, these vectors have {actual!r}")
    try:
        json.dumps(rest, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"info can't be written as JSON ({error}); use plain values") from error
    return Contents(vectors, ids, payload, tokens, digest, kind, rest)


def publish_contents(folder: Path, contents: Contents) -> Loaded:
    """Make contents the newest generation of a folder whose lock is held, and return it as read back from the disk."""
    # What was hashed while it was written need not be hashed again at once if it is as large as tokens are.
    return publish(
        folder,
        contents.write,
        lambda written: _load(written, check_tokens=False),
        needed_bytes=contents.needed_bytes,
    )


def load_current(folder: Path, *, check_tokens: bool) -> Loaded:
    """Load the generation in use, once every checksum is right.

    Args:
        folder: the index folder.
        check_tokens: also read all token files to compare their checksums, not only their sizes.
    """
    while True:
        generation = read_current(folder)
        try:
            return _load(generation, check_tokens=check_tokens)
        except ArtefactError:
            # Swept by a writer that published twice meanwhile: there is a newer one to load.
            if current_number(folder) == generation.number:
                raise


def _load(generation: Generation, *, check_tokens: bool) -> Loaded:
    path, manifest = generation.path, generation.manifest
    if manifest.get("format") != _FORMAT:
        raise ArtefactError(
            f"{path}: index format {manifest.get('format')!r}, this version reads {_FORMAT}; build the index again"
        )
    generation.check_files(skip=() if check_tokens else (TOKENS_NAME, OFFSETS_NAME))
    count, dim = manifest["n"], manifest["dim"]
    index = engine.read(path / _FAISS_NAME, kind=manifest["kind"], count=count, dim=dim)
    ids, payload = read_rows(path / _ROWS_NAME, count=count)
    order = np.empty(count, dtype=np.int64)
    order[sorted(range(count), key=ids.__getitem__)] = np.arange(count)
    return Loaded(
        generation,
        index,
        _exact_vectors(generation, index),
        ids,
        payload,
        order,
        {identity: row for row, identity in enumerate(ids)},
        read_tokens(path, count=count) if generation.file(TOKENS_NAME) else None,
    )


def _exact_vectors(generation: Generation, index: Any) -> NDArray[np.float32]:
    path = generation.file(_VECTORS_NAME)
    if path is None:
        return engine.stored_vectors(index)
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    expected = (generation.manifest["n"], generation.manifest["dim"])
    if vectors.shape != expected or vectors.dtype != np.float32:
        raise ArtefactError(f"{path}: holds {vectors.shape} {vectors.dtype}, expected {expected}; build it again")
    return vectors  # type: ignore[no-any-return]
