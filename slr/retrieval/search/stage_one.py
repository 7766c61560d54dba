"""Stage 1: the one vector that stands for a clip, and how well it proposes what stage 2 would put first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.index.interface import Metric
from slr.models.dual_encoder import Embedded
from slr.retrieval.search.landmarks import NAME, Landmarks

FloatArray = NDArray[np.float32]
StageName = Literal["pooled", "mean", "landmarks"]
STAGES: tuple[StageName, ...] = ("pooled", "mean", "landmarks")


class StageOne(Protocol):
    """Makes the vectors of clips and of texts that stage 1 compares."""

    name: StageName
    metric: Metric

    def clip_vectors(self, clips: Embedded) -> FloatArray:
        """(A, F) float32."""

    def query_vectors(self, queries: Embedded) -> FloatArray:
        """(Q, F) float32."""


class Pooled:
    """The vectors of the model's own heads, which a contrastive loss of their own has trained."""

    name: StageName = "pooled"
    metric: Metric = "cosine"

    def clip_vectors(self, clips: Embedded) -> FloatArray:
        """(A, D) float32, unit length."""
        return np.asarray(clips.pooled.float().cpu().numpy(), dtype=np.float32)

    query_vectors = clip_vectors


class Mean:
    """Mean tokens: their product is what both halves of the score become as the temperature grows."""

    name: StageName = "mean"
    metric: Metric = "inner_product"

    def clip_vectors(self, clips: Embedded) -> FloatArray:
        """(A, D) float32, at most unit length."""
        mean = clips.tokens.float().sum(1) / clips.num_tokens[:, None]  # tokens are zero past the end
        return np.asarray(mean.cpu().numpy(), dtype=np.float32)

    query_vectors = clip_vectors


class LandmarkStage:
    """See slr.retrieval.search.landmarks."""

    name: StageName = "landmarks"
    metric: Metric = "inner_product"

    def __init__(self, landmarks: Landmarks) -> None:
        self.clip_vectors = landmarks.clip_vectors
        self.query_vectors = landmarks.query_vectors


def make_stage(name: str, *, folder: str | Path) -> StageOne:
    """The stage of a name.

    Args:
        name: pooled, mean or landmarks.
        folder: bundle of the model, which holds its landmarks.

    Raises:
        UserError: no such stage.
        ArtefactError: the model has no landmarks.
    """
    if name == "pooled":
        return Pooled()
    if name == "mean":
        return Mean()
    if name == "landmarks":
        return LandmarkStage(Landmarks.load(Path(folder) / NAME))
    raise UserError(f"stage one '{name}': allowed are auto, {', '.join(STAGES)}")


def stages_of(folder: str | Path, *, has_pooled: bool = True) -> list[StageOne]:
    """Every stage that a model has.

    Args:
        folder: its bundle.
        has_pooled: False where no loss has trained the pooled vectors.
    """
    names = ["pooled"] * has_pooled + ["mean"] + ["landmarks"] * (Path(folder) / NAME).is_file()
    return [make_stage(name, folder=folder) for name in names]


class Measured(NamedTuple):
    """How well a stage proposes the exact best.

    recall: K → share of the exact best 10 (or of all, if there are fewer) among the first K of stage 1.
    first: K → share of queries whose exact best one is among the first K.
    """

    recall: dict[int, float]
    first: dict[int, float]

    def enough(self, wanted: float) -> int | None:
        """The smallest K that reaches a recall, None if none does."""
        return next((k for k, value in sorted(self.recall.items()) if value >= wanted), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "recall_of_10": {str(k): round(value, 4) for k, value in self.recall.items()},
            "recall_of_1": {str(k): round(value, 4) for k, value in self.first.items()},
        }


def measure_stage(
    stage: StageOne, clips: Embedded, queries: Embedded, exact: FloatArray, *, ks: Sequence[int], best: int = 10
) -> Measured:
    """Search with stage 1 alone, exactly, and compare with the exact fine-grained scores.

    Args:
        stage: what is measured.
        clips: A clips.
        queries: Q texts.
        exact: (Q, A) float32, fine-grained scores.
        ks: numbers of candidates.
        best: clips that should be among them.
    """
    rough = stage.query_vectors(queries) @ stage.clip_vectors(clips).T
    wanted = np.argsort(-exact, axis=1, kind="stable")[:, : min(best, exact.shape[1])]
    order = np.argsort(-rough, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    found = np.take_along_axis(place, wanted, axis=1)
    return Measured({k: float((found < k).mean()) for k in ks}, {k: float((found[:, 0] < k).mean()) for k in ks})
