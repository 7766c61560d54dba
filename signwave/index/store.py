"""The index that programs use: build, open, search, add, upsert, delete, compact, verify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index import changes, facts, tuning
from signwave.index.contents import check_choice, check_info, check_vectors
from signwave.index.engine import KINDS
from signwave.index.generation import current_number
from signwave.index.interface import Metric, TokenType
from signwave.index.lock import exclusive
from signwave.index.reader import Reader
from signwave.index.rows import Payload, check_rows
from signwave.index.segment import Common
from signwave.index.snapshot import Snapshot, open_current

_OUR_NAMES = ("CURRENT", "LOCK", "generations", "segments")


class Index(Reader):
    """Vectors of one model with ids, payloads and tokens, in one folder.

    An open index is a snapshot: it keeps answering from the generation it was opened with while another process
    changes the folder; `refresh()` moves on. An addition costs in proportion to what is added, a deletion a bit a row.

    Attributes:
        folder: where it lies.
    """

    def __init__(
        self, folder: Path, snapshot: Snapshot, *, expect_model: str | None, check_tokens: bool | None
    ) -> None:
        """Use `Index.build` or `Index.open`."""
        super().__init__(folder, snapshot)
        self._expect_model = expect_model
        self._check_tokens = check_tokens

    @classmethod
    def build(
        cls,
        folder: str | Path,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        info: Mapping[str, Any],
        kind: tuning.KindChoice = "auto",
        metric: Metric = "cosine",
        tokens: Iterable[NDArray[Any]] | None = None,
        token_dtype: TokenType = "float16",
        queries: NDArray[np.float32] | None = None,
        candidates: int = tuning.CANDIDATES,
    ) -> Index:
        """Write an index; one that is there already is replaced as a whole, at once, when the new one is complete.

        Args:
            folder: made if it does not exist; must be empty or an index.
            vectors: (N, D) float32, of unit length if the metric is "cosine"; may be memory-mapped.
            ids: N unique texts.
            payload: N dicts of plain values (path, times, text …), returned as they are.
            info: must hold "model_digest"; "dim" and "metric" are checked if given; the rest is kept.
            kind: "flat" is exact; "ivf_sq8", "ivf_fastscan" and "hnsw" are approximate and for large collections.
                "auto" is flat below 10,000 rows and then the faster of the two IVF types that finds 99 % of the exact
                ten best.
            metric: "cosine" or "inner_product".
            tokens: N matrices (M, D') for fine scoring of candidates.
            token_dtype: how they are kept: "float16", "float32", or "int8" with a scale for each token.
            queries: (Q, D) float32, real query vectors, with which approximate types are chosen and measured (texts are
                not distributed as clips are); a thousand will do. Without them rows of the index serve.
            candidates: neighbours that a later stage will look at, for which recall is measured beside that of ten.
        """
        vectors = check_vectors(vectors, name="vectors", metric=metric)
        check_rows(ids, payload, count=len(vectors))
        check_choice("kind", kind, ("auto", *KINDS))
        check_choice("metric", metric, ("cosine", "inner_product"))
        check_choice("token_dtype", token_dtype, ("float16", "float32", "int8"))
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        dim = vectors.shape[1]
        if queries is not None:
            queries = check_vectors(queries, name="queries", dim=dim, metric=metric)
        digest, rest = check_info(info, dim=dim, metric=metric)
        common = Common(dim, metric, None if tokens is None else token_dtype)
        about = changes.facts_of_build(common, kind=kind, candidates=candidates, model_digest=digest, info=rest)
        new = None
        if len(ids):
            source = changes.from_arguments(vectors, ids, payload, tokens, common.token_dtype)
            new = changes.NewSegment([source], kind, queries, changes.bytes_of(vectors, tokens))
        path = _index_folder(folder)
        with exclusive(path):
            snapshot = changes.publish_build(path, about, common, new)
        return cls(path, snapshot, expect_model=None, check_tokens=None)

    @classmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None, check_tokens: bool | None = None) -> Index:
        """Open an index after comparing the checksums of its files.

        Args:
            folder: what `build` wrote.
            expect_model: digest of the model that will embed the queries; another one in the index is an error.
            check_tokens: whether the files of vectors, tokens and payloads, which may be many gigabytes, are hashed:
                True all, False none (their sizes are compared), None those of up to 64 MiB.
        """
        path = Path(folder)
        snapshot = open_current(path, check_bulk=check_tokens)
        _require_model(path, snapshot, expect_model)
        return cls(path, snapshot, expect_model=expect_model, check_tokens=check_tokens)

    def add(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Add rows as a new segment; an id that is there already is an error, and nothing changes.

        The arguments are those of `build`; tokens are needed if the index holds tokens. Another process's changes
        since this index was opened are kept.
        """
        self._write(vectors, ids, payload, tokens, replace=False)

    def upsert(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Like `add`, but an id that is there is replaced, with its payload and tokens, and moves to the end."""
        self._write(vectors, ids, payload, tokens, replace=True)

    def delete(self, ids: Iterable[str], *, missing_ok: bool = False) -> int:
        """Delete rows by id and return how many were deleted.

        Args:
            ids: which ones.
            missing_ok: False makes an id that isn't there an error, before anything is deleted.
        """
        unwanted = sorted(set(ids))
        with exclusive(self.folder):
            self.refresh()
            handles = self._snapshot.find(unwanted)
            missing = [identity for identity, handle in zip(unwanted, handles, strict=True) if handle < 0]
            if missing and not missing_ok:
                raise ArtefactError(
                    f"{self.folder}: {len(missing)} ids are not in the index, the first is {missing[0]!r}; "
                    "nothing was deleted"
                )
            if len(missing) < len(unwanted):
                self._snapshot = changes.publish_change(self._snapshot, removed=handles[handles >= 0])
        return len(unwanted) - len(missing)

    def compact(self) -> None:
        """Write all rows into one segment again: dead rows go, and the type is chosen and trained anew."""
        with exclusive(self.folder):
            self.refresh()
            nothing = np.empty(0, dtype=np.int64)
            self._snapshot = changes.publish_change(self._snapshot, removed=nothing, compact=True)

    def refresh(self) -> bool:
        """Move to the newest generation; True if there was a newer one."""
        if current_number(self.folder) == self._snapshot.generation.number:
            return False
        opened = [part.segment for part in self._snapshot.parts]
        snapshot = open_current(self.folder, check_bulk=self._check_tokens, opened=opened)
        _require_model(self.folder, snapshot, self._expect_model)
        self._snapshot = snapshot
        return True

    def verify(self) -> dict[str, Any]:
        """Read everything on disk again and compare; returns `info()` of what is there.

        Raises:
            ArtefactError: something is damaged; the message names the file.
        """
        snapshot = open_current(self.folder, check_bulk=True)
        facts.check_sense(self.folder, snapshot)
        return facts.info(snapshot)

    def _write(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        tokens: Sequence[NDArray[Any]] | None,
        *,
        replace: bool,
    ) -> None:
        vectors = check_vectors(vectors, name="vectors", dim=self.dim, metric=self.metric)
        check_rows(ids, payload, count=len(vectors))
        if (tokens is not None) != self.has_tokens:
            held = "holds" if self.has_tokens else "does not hold"
            raise ValueError(f"this index {held} tokens, so every addition must {'' if self.has_tokens else 'not '}too")
        if not len(ids):
            return
        with exclusive(self.folder):
            self.refresh()
            handles = self._snapshot.find(ids)
            there = np.flatnonzero(handles >= 0)
            if len(there) and not replace:
                raise ArtefactError(
                    f"{self.folder}: {len(there)} of these ids are in the index, the first is {ids[there[0]]!r}; "
                    "nothing was added; use upsert to replace them"
                )
            token_dtype = self._snapshot.common.token_dtype
            self._snapshot = changes.publish_change(
                self._snapshot,
                removed=handles[there],
                added=changes.from_arguments(vectors, ids, payload, tokens, token_dtype),
                num_bytes=changes.bytes_of(vectors, tokens),
            )


def _index_folder(folder: str | Path) -> Path:
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        strangers = [p.name for p in path.iterdir() if p.name not in _OUR_NAMES and not p.name.startswith(".tmp-")]
    except OSError as error:
        raise ArtefactError(f"{path}: can't be used as an index folder ({error.strerror})") from error
    if strangers:
        raise ArtefactError(f"{path}: holds {sorted(strangers)[0]!r}, so it is no index; name an empty or new folder")
    return path


def _require_model(folder: Path, snapshot: Snapshot, expected: str | None) -> None:
    found = snapshot.manifest["model_digest"]
    if expected is not None and found != expected:
        raise ArtefactError(
            f"{folder}: its vectors were made by the model {found}, the queries come from the model {expected}; "
            "use the model of the index, or build the index again with this one"
        )
