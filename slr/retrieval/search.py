"""A trained retrieval model in use: an index over clips, and text or clip queries that say what matched and when."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from signwave import bundle
from signwave.bundle import Bundle
from signwave.command import Failure, pick_device
from signwave.errors import ArtefactError, ManifestError, MediaError, UserError
from signwave.index import Index
from signwave.manifest import Clip
from signwave.text import SPACE_TOKEN
from slr.keypoints.hand_transforms import FloatArray
from slr.keypoints.hands import read_clip
from slr.models.dual_encoder import DualEncoder, DualEncoderConfig, Embedded, PoseTower
from slr.retrieval.batch import encode_query, known_characters, pad_hands, pad_texts
from slr.retrieval.results import Answer, Hit, explain
from slr.retrieval.similarity import fine_grained

KIND = "slr.dual_encoder"
_CLIPS_AT_ONCE = 64
CANDIDATES = 500
"""Clips that stage 1 hands to the fine-grained score; a smaller index is scored exactly."""


@dataclass(frozen=True)
class Indexed:
    """What became of the clips of a manifest."""

    num_done: int
    failures: tuple[Failure, ...]


class _Row(NamedTuple):
    clip: Clip
    payload: dict[str, Any]
    pooled: FloatArray
    tokens: FloatArray


class Retriever:
    """A model that finds sign clips.

    >>> retriever = Retriever.load("runs/fingerspelling_retrieval")                # doctest: +SKIP
    >>> retriever.search(retriever.open("runs/demo/index"), "house").hits[0].id    # doctest: +SKIP
    'house-en-ase'

    Args:
        stored: a bundle of the kind "slr.dual_encoder".
        device: cpu, cuda or cuda:N.

    Raises:
        ArtefactError: the bundle holds another kind of model, or lacks a part.
    """

    def __init__(self, stored: Bundle, *, device: str = "cpu") -> None:
        if stored.kind != KIND:
            found = f"a model of kind '{stored.kind}', search needs '{KIND}'"
            raise ArtefactError(f"{stored.folder}: {found}; name another run")
        if stored.vocabulary is None or stored.normaliser is None or "rate_hz" not in stored.info:
            raise ArtefactError(f"{stored.folder}: lacks vocabulary, normaliser or rate_hz; export the model again")
        self.folder, self.digest = stored.folder, stored.digest
        self.vocabulary, self.normaliser = stored.vocabulary, stored.normaliser
        self.rate_hz = float(stored.info["rate_hz"])
        self.device = device
        self.model, self._signs = _build(stored)
        self.model.to(device).eval()

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Retriever:
        """Open a run folder or a bundle folder on auto, cpu, cuda or cuda:N."""
        return cls(bundle.load(path), device=pick_device(device))

    @classmethod
    def of_index(cls, index: Index, *, device: str = "auto") -> Retriever:
        """The model that an index was built with, where the index remembers it to lie.

        Raises:
            ArtefactError: it isn't there any more, or another model lies there now.
        """
        remembered = str(index.info()["info"].get("model_path", ""))
        path = Path(os.path.normpath(index.folder / remembered))
        if not remembered or not path.exists():
            raise ArtefactError(f"{index.folder}: its model is not at {path}; name the model's run folder with --model")
        found = cls.load(path, device=device)
        found.open(index.folder)
        return found

    def open(self, folder: str | Path) -> Index:
        """Open an index, which must have been built with this model."""
        return Index.open(folder, expect_model=self.digest)

    def build(self, folder: str | Path, clips: Iterable[Clip]) -> Indexed:
        """Index clips, replacing what the folder held; a clip that can't be read is named and left out.

        Args:
            folder: new, empty, or an index.
            clips: rows of kind "pose".

        Raises:
            ManifestError: two rows have the same id.
            UserError: no clip could be read.
        """
        rows, failures = self._rows(clips, Path(folder))
        info = {"model_digest": self.digest, "model_path": os.path.relpath(self.folder, folder), "model_kind": KIND}
        Index.build(
            folder,
            np.stack([row.pooled for row in rows]),
            [row.clip.id for row in rows],
            [row.payload for row in rows],
            info=info,
            tokens=[row.tokens for row in rows],
        )
        return Indexed(len(rows), failures)

    def add(self, folder: str | Path, clips: Iterable[Clip]) -> Indexed:
        """Add clips to an index; an id that is there already is replaced. See `build`."""
        index = self.open(folder)
        rows, failures = self._rows(clips, Path(folder))
        index.add(
            np.stack([row.pooled for row in rows]),
            [row.clip.id for row in rows],
            [row.payload for row in rows],
            tokens=[row.tokens for row in rows],
        )
        return Indexed(len(rows), failures)

    def search(self, index: Index, text: str, *, k: int = 10, candidates: int = CANDIDATES) -> Answer:
        """Find the clips that fit a text.

        Args:
            index: see `open`.
            text: in any language of the model's training.
            k: hits wanted.
            candidates: clips that are scored finely.

        Raises:
            UserError: nothing is left of the text.
        """
        normal = self._normal(text)
        unknown = [c for c in dict.fromkeys(self.vocabulary.unknown(normal)) if c != SPACE_TOKEN]
        warnings = []
        if unknown:
            warnings.append(f"the model has never seen the characters {' '.join(unknown)}; it passes over them")
        parts = [c.replace(SPACE_TOKEN, "") for c in known_characters(normal, self.vocabulary)] or [normal]
        hits = self._hits(index, self.embed_texts([text]), parts, k=k, candidates=candidates)
        return Answer(text, hits, tuple(warnings))

    def search_clip(
        self,
        index: Index,
        path: str | Path,
        *,
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
        k: int = 10,
        candidates: int = CANDIDATES,
    ) -> Answer:
        """Find the clips that resemble a `.pose` file, or a span of it; see `search`.

        Raises:
            MediaError: the file can't be used.
        """
        if Path(path).suffix.lower() != ".pose":
            raise MediaError(path, "is no .pose file, and this model reads poses; extract them first", kind="refused")
        clip = read_clip(path, rate_hz=self.rate_hz, start_seconds=start_seconds, end_seconds=end_seconds)
        embedded = self.embed_hands([clip.hands])
        times = self._token_seconds(len(clip.hands), start_seconds)
        parts = [f"{start:.2f}-{end:.2f} s" for start, end in times]
        return Answer(str(path), self._hits(index, embedded, parts, k=k, candidates=candidates))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Embedded:
        """Embeddings of texts as users type them."""
        ids, lengths = pad_texts([encode_query(self._normal(text), self.vocabulary) for text in texts])
        return self.model.embed_texts(ids.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def embed_hands(self, clips: Sequence[FloatArray]) -> Embedded:
        """Embeddings of clips: (T, 42, 3) float32 hands at the model's rate."""
        inputs, lengths = pad_hands(clips)
        return self.model.embed_signs(inputs.to(self.device), lengths.to(self.device))

    def _normal(self, text: str) -> str:
        normal = self.normaliser(text)
        if not normal:
            raise UserError(f"the query '{text}' holds no letter or digit; type a word")
        return normal

    def _rows(self, clips: Iterable[Clip], folder: Path) -> tuple[list[_Row], tuple[Failure, ...]]:
        rows: list[_Row] = []
        failures: list[Failure] = []
        pending: list[tuple[Clip, FloatArray, float]] = []
        for clip in _unique(clips):
            try:
                read = self._read(clip)
            except MediaError as error:
                failures.append(Failure.of(clip.path, error))
                continue
            pending.append(read)
            if len(pending) == _CLIPS_AT_ONCE:
                rows += self._embed(pending, folder)
                pending = []
        if pending:
            rows += self._embed(pending, folder)
        if not rows:
            first = f"; the first: {failures[0].message}" if failures else "; the manifest has no row"
            raise UserError(f"none of {len(failures)} clips could be indexed{first}")
        return rows, tuple(failures)

    def _read(self, clip: Clip) -> tuple[Clip, FloatArray, float]:
        if clip.kind != "pose":
            raise MediaError(clip.path, f"is of kind '{clip.kind}', and this model reads poses; extract them first")
        read = read_clip(
            clip.path, rate_hz=self.rate_hz, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds
        )
        return clip, read.hands, read.duration_seconds

    def _embed(self, read: Sequence[tuple[Clip, FloatArray, float]], folder: Path) -> Iterator[_Row]:
        embedded = self.embed_hands([hands for _, hands, _ in read])
        for place, (clip, hands, duration) in enumerate(read):
            num = int(embedded.num_tokens[place])
            payload = {
                # Relative to the index, so that a tree of clips and index can be moved as a whole.
                "path": os.path.relpath(clip.path, folder),
                "end_seconds": clip.start_seconds + duration,
                "times": [[round(t, 3) for t in span] for span in self._token_seconds(len(hands), clip.start_seconds)],
                "text": clip.text,
                "language": clip.language,
                "person": clip.person,
                "group": clip.group,
                "captions": dict(clip.captions),
            }
            pooled = embedded.pooled[place].float().cpu().numpy()
            yield _Row(clip, payload, pooled, embedded.tokens[place, :num].float().cpu().numpy())

    def _token_seconds(self, num_frames: int, offset_seconds: float) -> list[tuple[float, float]]:
        spans = self._signs.token_frames(num_frames)
        return [(offset_seconds + a / self.rate_hz, offset_seconds + b / self.rate_hz) for a, b in spans]

    def _hits(self, index: Index, query: Embedded, parts: Sequence[str], *, k: int, candidates: int) -> tuple[Hit, ...]:
        if k < 1:
            raise UserError(f"k must be at least 1, got {k}")
        rows, scores = self.score(index, query, candidates=max(k, candidates))
        ids = [index.id_of(int(row)) for row in rows]
        order = sorted(range(len(rows)), key=lambda place: (-scores[place], ids[place]))[:k]
        # A text's learned tokens come first; only what stands for a part of the query is explained.
        last = int(query.num_tokens[0])
        tokens = query.tokens[0, last - len(parts) : last].float().cpu().numpy()
        return tuple(explain(index, int(rows[place]), float(scores[place]), tokens, parts) for place in order)

    def score(self, index: Index, query: Embedded, *, candidates: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows (K,) int64 that stage 1 proposes for one query, and their fine-grained scores (K,) float32."""
        near = index.search(query.pooled[:1].float().cpu().numpy(), candidates)
        rows = near.rows[0][near.rows[0] >= 0]
        if not len(rows):
            return rows, np.zeros(0, dtype=np.float32)
        matrices = [np.asarray(index.tokens(int(row)), dtype=np.float32) for row in rows]
        lengths = torch.tensor([len(matrix) for matrix in matrices], dtype=torch.int64)
        padded = np.zeros((len(rows), int(lengths.max()), matrices[0].shape[1]), dtype=np.float32)
        for place, matrix in enumerate(matrices):
            padded[place, : len(matrix)] = matrix
        clips = Embedded(torch.from_numpy(padded).to(self.device), lengths.to(self.device), query.pooled)
        with torch.no_grad():
            scores = fine_grained(clips, Embedded(query.tokens[:1], query.num_tokens[:1], query.pooled[:1])).mean
        return rows, np.asarray(scores[:, 0].float().cpu().numpy(), dtype=np.float32)


def _build(stored: Bundle) -> tuple[DualEncoder, PoseTower]:
    try:
        config = dict(stored.config)
        num_characters = int(config.pop("num_characters"))
        model = DualEncoderConfig(**config).build(num_characters=num_characters)
        model.load_state_dict(stored.state_dict())
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        detail = str(error).splitlines()[0]
        raise ArtefactError(f"{stored.folder}: its weights don't fit its config ({detail}); export it again") from error
    signs: nn.Module = model.signs
    if not isinstance(signs, PoseTower):
        raise ArtefactError(f"{stored.folder}: its sign tower is no PoseTower; this version can't index with it")
    return model, signs


def _unique(clips: Iterable[Clip]) -> Iterator[Clip]:
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise ManifestError(f"the id '{clip.id}' is there twice; every clip of an index needs its own id")
        seen.add(clip.id)
        yield clip
