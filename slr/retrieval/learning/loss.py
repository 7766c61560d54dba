"""What retrieval training minimises: the P-to-K loss on CiCo's fine-grained score and on the pooled vectors.

Under several processes each one scores its own clips and sees the loss of all batches together; see
slr.retrieval.learning.gathering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slr.models.dual_encoder import Embedded
from slr.retrieval.learning.contrastive import pair_scores
from slr.retrieval.learning.gathering import gather_rows, gather_vectors
from slr.retrieval.similarity import (
    INNER_TEMPERATURE,
    RELEASED_LENGTHS,
    Normalisation,
    contrastive_loss,
    rows_loss,
)


@dataclass
class RetrievalLossConfig:
    """What training minimises. CiCo's released code is pooled_weight=0 and legacy_unmasked=true."""

    normalisation: str = "per_positive"
    """How several positives of a row share the loss: per_positive, one_to_k (as released for 1-to-K) or any_positive.
    With one positive each they are all CiCo's."""
    dual_mix: float = 0.5
    """CiCo's balance of the two directions of each half."""
    fine_weight: float = 1.0
    """Weight of the loss on the fine-grained score."""
    pooled_weight: float = 1.0
    """Weight of the loss on the pooled vectors, which stage 1 of the index uses."""
    within_weight: float = 0.0
    """Weight of a loss that draws together the pooled vectors of a group on the same side."""
    temperature: float = INNER_TEMPERATURE
    """Of the soft choice of a word for each sign and of a sign for each word."""
    legacy_unmasked: bool = False
    """Let padding take part in the soft choice, as CiCo's released code does; signs.max_tokens may then be 65 and
    texts.max_tokens 32 at most."""
    rank_by: str = "fine"
    """What ranking uses: fine, or pooled for a model without a fine-grained score."""

    def __post_init__(self) -> None:
        allowed = {"normalisation": ("per_positive", "one_to_k", "any_positive"), "rank_by": ("fine", "pooled")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"loss.{name}={getattr(self, name)}: allowed are {', '.join(values)}")
        if not self.temperature > 0 or min(self.fine_weight, self.pooled_weight, self.within_weight) < 0:
            raise ValueError("loss: temperature must be above 0 and no weight below 0")
        if self.fine_weight == self.pooled_weight == 0:
            raise ValueError("loss: fine_weight and pooled_weight are both 0, so there is nothing to learn")


class RetrievalLoss:
    """The loss of one batch, as its parts.

    Args:
        config: weights and options.
    """

    def __init__(self, config: RetrievalLossConfig) -> None:
        self.config = config
        self.score_options: dict[str, Any] = {
            "temperature": config.temperature,
            "legacy_unmasked": config.legacy_unmasked,
            "pad_to": RELEASED_LENGTHS if config.legacy_unmasked else None,
        }

    @property
    def normalisation(self) -> Normalisation:
        """How several positives of a row share the loss."""
        return self.config.normalisation  # type: ignore[return-value]  # checked by the config

    def fine(
        self, clips: Embedded, texts: Embedded, swapped: Embedded | None, positive: Tensor, scale: Tensor
    ) -> Tensor:
        """() float32, the loss on the fine-grained score.

        Args:
            clips: A clips of this process.
            texts: C texts of all processes.
            swapped: the same texts with words swapped, for the word half; None takes the texts themselves.
            positive: (A of all processes, C) bool.
            scale: () float32, of the logits.
        """
        scores = pair_scores(clips, texts, swapped=swapped, **self.score_options)
        by_sign, by_word = gather_rows(scores.by_sign * scale, scores.by_word * scale)
        return self._contrast(by_sign, by_word, positive)

    def pooled(self, clips: Tensor, texts: Tensor, positive: Tensor, scale: Tensor) -> Tensor:
        """() float32, the loss on the pooled vectors, (A, D) of this process and (C, D) of all. See `fine`."""
        (logits,) = gather_rows(clips @ texts.T * scale)
        return self._contrast(logits, logits, positive)

    def within(self, vectors: Tensor, groups: Tensor, scale: Tensor) -> Tensor:
        """() float32, cross-entropy of each vector against the others of its group; nothing matches itself.

        Args:
            vectors: (A, D) float32, unit length, of this process; all of one side.
            groups: (A of all processes,) int64.
            scale: () float32, of the logits.
        """
        (logits,) = gather_rows(vectors @ gather_vectors(vectors).T * scale)
        itself = torch.eye(len(groups), dtype=torch.bool, device=vectors.device)
        positive = (groups[:, None] == groups[None, :]) & ~itself
        # A large finite number: minus infinity times a zero of the positive mask would be NaN.
        return rows_loss(logits.masked_fill(itself, -1e4), positive, self.normalisation)

    def _contrast(self, by_sign: Tensor, by_word: Tensor, positive: Tensor) -> Tensor:
        return contrastive_loss(
            by_sign, by_word, positive, dual_mix=self.config.dual_mix, normalisation=self.normalisation
        )
