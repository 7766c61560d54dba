"""A head that decodes before the first gradient step: solved from alignments in closed form, and aligned with again.

The first alignment comes from an older recogniser's head where there is one: the state at the spike of the last old
token of each new one stands for it. Without one the labels are spread evenly over their clips, and a few rounds of
solving and aligning sort them out, as in the training of recognisers of whole words.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.head_start import StoredClip, store_states
from asr.models.speech_ctc import SpeechCtc
from asr.speech_dataset import SpeechDataset
from asr.transfer.alignments import align_states, spikes, spread_evenly
from asr.transfer.statistics import ClassStatistics
from signwave.errors import ConfigError, UserError

log = logging.getLogger(__name__)

FirstSteps = Callable[[SpeechDataset, Sequence[StoredClip], Sequence[Tensor]], list[Tensor | None]]
"""Gets a dataset, its clips and their states before the output layer; gives each clip's token per step, or None."""
_ALIGNED_AT_ONCE = 64


@dataclass
class ClosedFormConfig:
    """The head in closed form, before training."""

    rounds: int = 0
    """Times that it is solved; each but the first aligns with the last solution. 0 = not at all."""
    shrinkage: float = 0.1
    """This share of the variances is added to the diagonal of the covariance."""
    reach: int = 1
    """Steps on each side of a token's spike that count as the token."""
    max_hours: float = 2.0
    """At most so much of the training split, 0.07 GB an hour and 100 features of a state."""

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.reach < 0 or self.shrinkage < 0 or self.max_hours <= 0:
            raise ConfigError(
                "head.closed_form: rounds, reach and shrinkage must be at least 0, max_hours above 0, got "
                f"{self.rounds}, {self.reach}, {self.shrinkage:g} and {self.max_hours:g}"
            )


def evenly(dataset: SpeechDataset, clips: Sequence[StoredClip], states: Sequence[Tensor]) -> list[Tensor | None]:
    """The first alignment where nothing is known."""
    return [spread_evenly(len(state), clip.labels.tolist()) for clip, state in zip(clips, states, strict=True)]


@torch.no_grad()
def solve_head(
    model: SpeechCtc,
    dataset: SpeechDataset,
    config: ClosedFormConfig,
    *,
    first_steps: FirstSteps = evenly,
    seed: int = 0,
) -> int:
    """Give a model its output layer.

    Args:
        model: changed in place: the output layer alone.
        dataset: the training split.
        config: how.
        first_steps: the first alignment.
        seed: of the choice where the split is longer than config.max_hours.

    Returns:
        How many clips the last round used: those that could be aligned.

    Raises:
        UserError: no clip can be read or aligned.
    """
    clips = store_states(model, dataset, rng=np.random.default_rng(seed), max_hours=config.max_hours)
    states = [_represented(model, clip.hidden) for clip in clips]
    steps = first_steps(dataset, clips, states)
    num_used = 0
    for number in range(config.rounds):
        if number:
            steps = _aligned(model, clips, states, config.reach)
        num_used = sum(row is not None for row in steps)
        if not num_used:
            raise UserError(
                f"none of {len(clips)} training clips has enough steps for its transcript; check that recordings and "
                "texts belong together, or take an encoder with a smaller stride (model.num_upsampled_steps)"
            )
        statistics = ClassStatistics(model.output.out_features, model.output.in_features)
        for state, row in zip(states, steps, strict=True):
            if row is not None:
                statistics.add(state, row)
        weight, bias = statistics.solve(shrinkage=config.shrinkage)
        model.output.weight.copy_(weight)
        model.output.bias.copy_(bias)
    log.info("head in closed form: %d rounds over %d of %d clips", config.rounds, num_used, len(clips))
    return num_used


def _represented(model: SpeechCtc, hidden: Tensor) -> Tensor:
    """(T, D) float32 on the CPU, what the output layer takes of a clip."""
    device = hidden.device
    states, num_steps = model.represent(hidden[None], torch.tensor([len(hidden)], device=device))
    return states[0, : int(num_steps[0])].float().cpu()


def _aligned(
    model: SpeechCtc, clips: Sequence[StoredClip], states: Sequence[Tensor], reach: int
) -> list[Tensor | None]:
    weight, bias = model.output.weight.float().cpu(), model.output.bias.float().cpu()
    found: list[Tensor | None] = []
    for first in range(0, len(clips), _ALIGNED_AT_ONCE):
        part = slice(first, first + _ALIGNED_AT_ONCE)
        labels = [clip.labels.tolist() for clip in clips[part]]
        for alignment, state in zip(align_states(states[part], labels, weight, bias), states[part], strict=True):
            if alignment is None:
                found.append(None)
            else:
                found.append(spikes(alignment.tokens, alignment.peaks, len(state), reach=reach))
    return found
