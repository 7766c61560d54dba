"""The index that programs use: build, open, search, add, delete, verify."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index import engine
from signwave.index.contents import (
    Contents,
    KindChoice,
    Loaded,
    check_vectors,
    checked_contents,
    load_current,
    publish_contents,
)
from signwave.index.generation import current_number
from signwave.index.hits import Hits, best_first, empty_hits
from signwave.index.lock import exclusive
from signwave.index.rows import Payload, Where, check_rows, matching_rows

_OUR_NAMES = ("CURRENT", "LOCK", "generations")


class Index:
    """Vectors of one model with ids and payloads, in one folder.

    An open index is a snapshot: it keeps answering from the generation it was opened with while another process
    changes the folder; `refresh()` moves on. Every change writes a new generation, which takes time in proportion to
    the index, so add and delete in bulk.
    """

    def __init__(self, folder: Path, loaded: Loaded, *, expect_model: str | None, check_tokens: bool) -> None:
        """Use `Index.build` or `Index.open`."""
        self.folder = folder
        self._loaded = loaded
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
        kind: KindChoice = "auto",
        tokens: Iterable[NDArray[Any]] | None = None,
    ) -> "Index":
        """Write an index; one that is there already is replaced as a whole, at once, when the new one is complete.

        Args:
            folder: made if it does not exist; must be empty or an index.
            vectors: (N, D) float32, unit length.
            ids: N unique texts.
            payload: N dicts of plain values (path, times, text …), returned as they are.
            info: must hold "model_digest"; "dim" and "metric" are checked if given; the rest is kept.
            kind: "flat" is exact; "hnsw" and "ivf_sq8" are approximate and for large collections. "auto" is flat.
            tokens: N matrices (M, D') for fine scoring of candidates, kept as float16.
        """
        contents = checked_contents(vectors, ids, payload, tokens=tokens, kind=kind, info=info)
        path = _index_folder(folder)
        with exclusive(path):
            loaded = publish_contents(path, contents)
        return cls(path, loaded, expect_model=None, check_tokens=False)

    @classmethod
    def open(cls, folder: str | Path, *, expect_model: str | None = None, check_tokens: bool = True) -> "Index":
        """Open an index after comparing the checksums of its files.

        Args:
            folder: what `build` wrote.
            expect_model: digest of the model that will embed the queries; another one in the index is an error.
            check_tokens: False compares only the sizes of the token files, which may be many gigabytes.
        """
        path = Path(folder)
        loaded = load_current(path, check_tokens=check_tokens)
        _require_model(path, loaded, expect_model)
        return cls(path, loaded, expect_model=expect_model, check_tokens=check_tokens)

    def __len__(self) -> int:
        return len(self._loaded.ids)

    @property
    def ids(self) -> list[str]:
        """Ids in the order of rows, a copy; `id_of` gives a single one."""
        return list(self._loaded.ids)

    def payload(self, row: int) -> Payload:
        """What was stored with a row."""
        return self._loaded.payload[self._row(row)]

    def vector(self, row: int) -> NDArray[np.float32]:
        """Vector of a row: (D,) float32, unit length."""
        return np.array(self._loaded.vectors[self._row(row)], dtype=np.float32)

    def id_of(self, row: int) -> str:
        """Id of a row."""
        return self._loaded.ids[self._row(row)]

    def row_of(self, identity: str) -> int | None:
        """Row of an id, None if it isn't there."""
        return self._loaded.row_of.get(identity)

    @property
    def has_tokens(self) -> bool:
        """True if token matrices are stored."""
        return self._loaded.tokens is not None

    def tokens(self, row: int) -> NDArray[np.float16]:
        """Token matrix of a row: (M, D') float16, a view of the file."""
        if self._loaded.tokens is None:
            raise ArtefactError(f"{self.folder}: this index holds no tokens; build it with tokens to score finely")
        return self._loaded.tokens.get(self._row(row))

    def search(self, queries: NDArray[np.float32], k: int, *, where: Where | None = None) -> Hits:
        """Find the nearest neighbours by cosine.

        A flat index, and any filter that keeps fewer than 50,000 rows, is exact: the result is that of sorting all
        cosines (computed in float64, rounded to float32) and, where they are equal, ids. It does not depend on how
        many queries are asked at once.

        Args:
            queries: (Q, D) float32, unit length.
            k: neighbours wanted; K = min(k, rows that pass the filter).
            where: a filter on payloads: wanted values by key (a list allows any of them), or a function.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        loaded = self._loaded
        queries = check_vectors(queries, name="queries", dim=loaded.manifest["dim"])
        rows = None if where is None else matching_rows(loaded.payload, where)
        limit = len(loaded.ids) if rows is None else len(rows)
        if limit == 0 or len(queries) == 0:
            return empty_hits(len(queries))
        k = min(k, limit)
        return _rescored(loaded, queries, _candidates(loaded, queries, k, rows, limit), k)

    def add(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Add rows; an id that is there already is replaced, with its payload and tokens, and moves to the end.

        The arguments are those of `build`; tokens are needed if the index holds tokens. Another process's changes
        since this index was opened are kept.
        """
        vectors = check_vectors(vectors, name="vectors", dim=self._loaded.manifest["dim"])
        check_rows(ids, payload, count=len(vectors))
        if (tokens is not None) != self.has_tokens:
            held = "holds" if self.has_tokens else "does not hold"
            raise ValueError(f"this index {held} tokens, so every addition must {'' if self.has_tokens else 'not '}too")
        with exclusive(self.folder):
            self.refresh()
            changed = _kept_and_new(self._loaded, set(ids), vectors, ids, payload, tokens)
            self._loaded = publish_contents(self.folder, changed)

    def delete(self, ids: Iterable[str], *, missing_ok: bool = False) -> int:
        """Delete rows by id and return how many were deleted.

        Args:
            ids: which ones.
            missing_ok: False makes an id that isn't there an error, before anything is deleted.
        """
        unwanted = set(ids)
        with exclusive(self.folder):
            self.refresh()
            found = unwanted & self._loaded.row_of.keys()
            missing = sorted(unwanted - found)
            if missing and not missing_ok:
                raise ArtefactError(
                    f"{self.folder}: {len(missing)} ids are not in the index, the first is {missing[0]!r}; "
                    "nothing was deleted"
                )
            if found:
                nothing = np.empty((0, self._loaded.manifest["dim"]), dtype=np.float32)
                changed = _kept_and_new(self._loaded, found, nothing, [], [], None)
                self._loaded = publish_contents(self.folder, changed)
        return len(found)

    def refresh(self) -> bool:
        """Move to the newest generation; True if there was a newer one."""
        if current_number(self.folder) == self._loaded.generation.number:
            return False
        loaded = load_current(self.folder, check_tokens=self._check_tokens)
        _require_model(self.folder, loaded, self._expect_model)
        self._loaded = loaded
        return True

    def info(self) -> dict[str, Any]:
        """Plain values: size, dimension, kind, model, versions, and what was given as `info` to `build`."""
        manifest = {key: value for key, value in self._loaded.manifest.items() if key != "files"}
        num_bytes = sum(entry["bytes"] for entry in self._loaded.manifest["files"].values())
        return {**manifest, "generation": self._loaded.generation.number, "bytes": num_bytes}

    def verify(self) -> dict[str, Any]:
        """Read everything on disk again and compare; returns `info()` of what is there.

        Raises:
            ArtefactError: something is damaged; the message names the file.
        """
        loaded = load_current(self.folder, check_tokens=True)
        check_stored_vectors(self.folder, loaded)
        return Index(self.folder, loaded, expect_model=None, check_tokens=True).info()

    def _row(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise ValueError(f"row must be in [0, {len(self)}), got {row}")
        return row


def check_stored_vectors(folder: Path, loaded: Loaded) -> None:
    """Vectors that were written whole can still be wrong; this catches what a checksum can't."""
    try:
        check_vectors(np.asarray(loaded.vectors), name="stored vectors")
    except ValueError as error:
        raise ArtefactError(f"{folder}: {error}") from error


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


def _require_model(folder: Path, loaded: Loaded, expected: str | None) -> None:
    found = loaded.manifest["model_digest"]
    if expected is not None and found != expected:
        raise ArtefactError(
            f"{folder}: its vectors were made by the model {found}, the queries come from the model {expected}; "
            "use the model of the index, or build the index again with this one"
        )


def _kept_and_new(
    loaded: Loaded,
    dropped: set[str],
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    payload: Sequence[Payload],
    tokens: Sequence[NDArray[Any]] | None,
) -> Contents:
    """The contents without some ids and with new rows at the end."""
    kept = [row for row, identity in enumerate(loaded.ids) if identity not in dropped]
    store, manifest = loaded.tokens, loaded.manifest
    return Contents(
        np.concatenate([loaded.vectors[kept], vectors]),
        [*(loaded.ids[row] for row in kept), *ids],
        [*(loaded.payload[row] for row in kept), *payload],
        None if store is None else (*(store.get(row) for row in kept), *(tokens or ())),
        manifest["model_digest"],
        manifest["requested_kind"],
        manifest["info"],
    )


def _candidates(
    loaded: Loaded, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None, limit: int
) -> list[NDArray[np.int64]]:
    """Rows that may be among the best k of each query; all of them certainly are if the search is exact."""
    is_flat = loaded.manifest["kind"] == "flat"
    if rows is not None and (is_flat or engine.scan_is_better(len(rows))):
        subset = rows

        def propose(which: NDArray[np.int64], count: int) -> engine.Candidates:
            return engine.scan(loaded.vectors, queries[which], count, rows=subset)

        return engine.with_ties(propose, num_queries=len(queries), k=k, limit=limit)
    if is_flat:

        def ask(which: NDArray[np.int64], count: int) -> engine.Candidates:
            return engine.nearest(loaded.faiss_index, queries[which], count, rows=None)

        return engine.with_ties(ask, num_queries=len(queries), k=k, limit=limit)
    found = engine.nearest(loaded.faiss_index, queries, min(limit, 4 * k + 16), rows=rows)
    return [row[row >= 0] for row in found.rows]


def _rescored(loaded: Loaded, queries: NDArray[np.float32], candidates: list[NDArray[np.int64]], k: int) -> Hits:
    """The best k candidates by cosine in float64, which is the same however the candidates were found."""
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for place, (query, found) in enumerate(zip(queries.astype(np.float64), candidates, strict=True)):
        exact = (loaded.vectors[found].astype(np.float64) * query).sum(axis=1).astype(np.float32)
        order = best_first(exact[None], loaded.id_order[found][None])[0, :k]
        rows[place, : len(order)], scores[place, : len(order)] = found[order], exact[order]
    ids = np.array([[loaded.ids[row] if row >= 0 else "" for row in line] for line in rows], dtype=np.str_)
    return Hits(ids, scores, rows)
