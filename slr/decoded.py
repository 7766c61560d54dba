"""What is left of a clip once it is decoded: tokens with steps, lists of the best, and posteriors for a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.ctc import Hypothesis
from slr.decoding import Decode, grow


class Posteriors(NamedTuple):
    """What a model saw in a clip, from its start, up to a length.

    probabilities: (T, V) float32 in [0, 1], V[0] is the blank.
    first_seconds: when step 0 begins in the file.
    stride_seconds: from one step to the next.
    path: the file.
    """

    probabilities: NDArray[np.float32]
    first_seconds: float
    stride_seconds: float
    path: str


@dataclass
class Decoded:
    """What decoding a clip gives, passage by passage.

    Attributes:
        grown: widen the spans, see `slr.decoding.grow`.
        kept_steps: posteriors are kept up to here.
        tokens: ids of the best hypothesis.
        steps: its half-open spans, counted from the start of the clip.
        confidences: its confidences.
        n_best: where several hypotheses were asked for: first step, end and hypotheses of each passage.
        kept: (T, V) float32 each, natural log probabilities, consecutive.
    """

    grown: bool
    kept_steps: int
    tokens: list[int] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    n_best: list[tuple[int, int, list[Hypothesis]]] = field(default_factory=list)
    kept: list[NDArray[np.float32]] = field(default_factory=list)

    def take(self, passages: Iterable[tuple[int, Tensor]], decode: Decode) -> None:
        """Decode passages and append what they hold."""
        for first, log_probs in passages:
            best = decode(log_probs[None], torch.tensor([len(log_probs)]))[0]
            one = grow(best[0], log_probs) if self.grown else best[0]
            self.tokens += one.tokens
            self.steps += [(start + first, end + first) for start, end in one.steps]
            self.confidences += one.confidences
            if len(best) > 1:
                self.n_best.append((first, first + len(log_probs), best))

    def keep(self, log_probs: Tensor) -> None:
        """Keep posteriors for the picture, the first ones of the clip."""
        left = self.kept_steps - sum(len(part) for part in self.kept)
        if left > 0:
            self.kept.append(log_probs[:left].numpy())

    @property
    def hypothesis(self) -> Hypothesis:
        """The best one, over the whole clip."""
        return Hypothesis(tuple(self.tokens), 0.0, tuple(self.steps), tuple(self.confidences))
