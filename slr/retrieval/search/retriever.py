"""A trained retrieval model in use: text or clip queries on an index, answered with what matched and when."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from signwave import bundle
from signwave.bundle import Bundle
from signwave.command import pick_device
from signwave.errors import ArtefactError, UserError
from signwave.index import Index
from signwave.index.interface import VectorIndex
from signwave.index.moving import open_index
from signwave.manifest import Clip
from slr.keypoints.hand_transforms import FloatArray
from slr.models.dual_encoder import Embedded
from slr.retrieval.clip_reading import ClipInput, ReadClip, clip_input
from slr.retrieval.learning.batch import pad_inputs, pad_texts
from slr.retrieval.search.rerank import rerank
from slr.retrieval.search.results import Answer, Hit, Query, explain
from slr.retrieval.search.stage_one import StageOne, make_stage
from slr.retrieval.stored import load_model
from slr.retrieval.texts import Part

CANDIDATES = 500
"""Clips that stage 1 hands to the fine-grained score where the index didn't measure how many it takes."""


class Retriever:
    """A model that finds sign clips.

    >>> retriever = Retriever.load("runs/fingerspelling_retrieval")                # doctest: +SKIP
    >>> retriever.search(retriever.open("runs/demo/index"), "house").hits[0].id    # doctest: +SKIP
    'house-en-ase'

    Args:
        stored: a bundle of the kind "slr.dual_encoder".
        device: cpu, cuda or cuda:N.
        features: "STREAM=FOLDER" or "STREAM=FOLDER,AWARE_FOLDER" of cached features, to read clips from instead of
            their files.

    Raises:
        ArtefactError: the bundle holds another kind of model, or lacks a part.
    """

    def __init__(self, stored: Bundle, *, device: str = "cpu", features: Sequence[str] = ()) -> None:
        self.folder, self.digest = stored.folder, stored.digest
        self.model = load_model(stored)
        self.texts, self.scoring = self.model.texts, self.model.scoring
        self.device = device
        self.dual = self.model.dual.to(device)
        self._features = tuple(features)
        self._clips: ClipInput | None = None
        self._stages: dict[str, StageOne] = {}

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", features: Sequence[str] = ()) -> Retriever:
        """Open a run folder or a bundle folder on auto, cpu, cuda or cuda:N."""
        return cls(bundle.load(path), device=pick_device(device), features=features)

    @classmethod
    def of_index(cls, index: VectorIndex, *, device: str = "auto", features: Sequence[str] = ()) -> Retriever:
        """The model that an index was built with, where the index remembers it to lie.

        Raises:
            ArtefactError: it isn't there any more, or another model lies there now.
        """
        info = index.info()
        remembered = str(info["info"].get("model_path", ""))
        path = Path(os.path.normpath(home_of(index) / remembered))
        if not remembered or not path.exists():
            where = home_of(index)
            raise ArtefactError(f"{where}: its model is not at {path}; name the model's run folder with --model")
        found = cls.load(path, device=device, features=features)
        if found.digest != info["model_digest"]:
            raise ArtefactError(
                f"{home_of(index)}: its vectors were made by the model {info['model_digest']}, and {path} holds "
                f"{found.digest} now; name the right one with --model, or build the index again"
            )
        return found

    @property
    def clips(self) -> ClipInput:
        """What reads clips."""
        if self._clips is None:
            self._clips = clip_input(self.model, device=self.device, features=self._features)
        return self._clips

    def open(self, place: str | Path) -> VectorIndex:
        """Open an index, which must have been built with this model."""
        return open_index(place, expect_model=self.digest)

    def search(
        self, index: VectorIndex, text: str, *, k: int = 10, candidates: int | None = None, where: Any = None
    ) -> Answer:
        """Find the clips that fit a text.

        Args:
            index: see `open`.
            text: in any language of the model's training.
            k: hits wanted.
            candidates: clips that are scored finely; None takes what the index measured to be enough.
            where: a filter on what the index knows of its clips, see `VectorIndex.search`.

        Raises:
            UserError: nothing is left of the text.
        """
        self._normal(text)
        unknown = self.texts.unknown(text)
        warnings = []
        if unknown:
            warnings.append(f"the model has never seen {' '.join(unknown)}; it passes over what it doesn't know")
        embedded = self.embed_texts([text])
        # A text's learned tokens come first.
        offset = int(embedded.num_tokens[0]) - len(self.texts.encode(text))
        parts = [Part(part.text, tuple(place + offset for place in part.places)) for part in self.texts.parts(text)]
        return Answer(text, self._hits(index, embedded, parts, k, candidates, where), tuple(warnings))

    def search_clip(
        self, index: VectorIndex, clip: Clip, *, k: int = 10, candidates: int | None = None, where: Any = None
    ) -> Answer:
        """Find the clips that resemble a clip; see `search`.

        Raises:
            UserError: the clip can't be used.
        """
        read = self.clips.read(clip)
        embedded = self.embed_clips([read])
        parts = [Part(f"{start:.2f}-{end:.2f} s", (place,)) for place, (start, end) in enumerate(read.times)]
        return Answer(clip.path, self._hits(index, embedded, parts, k, candidates, where))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Embedded:
        """Embeddings of texts as users type them."""
        for text in texts:
            self._normal(text)
        ids, lengths = pad_texts([self.texts.encode(text) for text in texts])
        return self.dual.embed_texts(ids.to(self.device), lengths.to(self.device))

    @torch.no_grad()
    def embed_clips(self, clips: Sequence[ReadClip]) -> Embedded:
        """Embeddings of clips."""
        inputs, lengths = pad_inputs([clip.inputs for clip in clips])
        return self.dual.embed_signs(inputs.to(self.device), lengths.to(self.device))

    def score(
        self, index: VectorIndex, query: Embedded, *, candidates: int | None = None, where: Any = None
    ) -> tuple[NDArray[np.int64], FloatArray]:
        """Clips that stage 1 proposes for one query, and their fine-grained scores.

        Returns:
            Rows of the index (K,) int64, and scores (K,) float32.
        """
        facts = index.info()["info"]
        stage = self._stage(facts)
        wanted = candidates or int(facts.get("candidates", CANDIDATES))
        near = index.search(stage.query_vectors(query), wanted, where=where)
        rows = near.rows[0][near.rows[0] >= 0]
        if not len(rows):
            return rows, np.zeros(0, dtype=np.float32)
        if self.scoring.rank_by == "pooled":
            return rows, near.scores[0][: len(rows)]
        block = index.token_block(rows)
        tokens = query.tokens[0, : int(query.num_tokens[0])].float().cpu().numpy()
        options: dict[str, Any] = {"temperature": self.scoring.temperature}
        return rows, rerank(block, tokens, legacy_unmasked=self.scoring.legacy_unmasked, **options)

    def stage_of(self, index: VectorIndex) -> StageOne:
        """How an index makes its vectors."""
        return self._stage(index.info()["info"])

    def _stage(self, facts: Mapping[str, Any]) -> StageOne:
        name = str(facts.get("stage_one", "pooled"))
        if name not in self._stages:
            self._stages[name] = make_stage(name, folder=self.folder)
        return self._stages[name]

    def _normal(self, text: str) -> None:
        if not self.texts.normal(text):
            raise UserError(f"the query '{text}' holds no letter or digit; type a word")

    def _hits(
        self, index: VectorIndex, query: Embedded, parts: Sequence[Part], k: int, candidates: int | None, where: Any
    ) -> tuple[Hit, ...]:
        if k < 1:
            raise UserError(f"k must be at least 1, got {k}")
        rows, scores = self.score(index, query, candidates=candidates, where=where)
        ids = [index.id_of(int(row)) for row in rows]
        order = sorted(range(len(rows)), key=lambda place: (-scores[place], ids[place]))[:k]
        explained = Query(query.tokens[0].float().cpu().numpy(), parts)
        payloads = index.payloads([int(rows[place]) for place in order])
        return tuple(
            explain(
                explained,
                identity=ids[place],
                score=float(scores[place]),
                tokens=np.asarray(index.tokens(int(rows[place])), dtype=np.float32),
                payload=payload,
                folder=home_of(index),
            )
            for place, payload in zip(order, payloads, strict=True)
        )


def home_of(index: VectorIndex) -> Path:
    """The folder that an index names files from: its own, or for Milvus the one where it was built."""
    return index.folder if isinstance(index, Index) else Path(str(index.info()["info"].get("home", "")))
