"""A small recogniser from a large one: it starts from every k-th layer and learns labels and the teacher's posteriors.

A student spikes a little earlier or later than its teacher, which costs nothing in use and much in a comparison step by
step. So both posteriors are pooled over neighbouring steps first: what counts is that a token is heard about there.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from asr.models.speech_ctc import SpeechCtc
from asr.models.speech_encoders import step_mask
from asr.recognition import SpeechRecognition
from signwave.batch import Encoded
from signwave.ctc import CtcLoss
from signwave.errors import ConfigError
from signwave.training.ctc_module import CtcBatch

_DEPTHS = ("encoder_layers", "num_hidden_layers")


@dataclass
class DistillationConfig:
    """The student's size and its loss."""

    teacher_dir: str = ""
    """Run or bundle of the teacher."""
    every: int = 2
    """The student has each so-manieth layer of the teacher, the last one among them."""
    weight: float = 0.5
    """Share of the comparison with the teacher in the loss; the rest is CTC on the labels."""
    temperature: float = 1.0
    """Both sides' scores are divided by this before they are compared."""
    reach: int = 2
    """Steps on each side over which posteriors are pooled."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.reach < 0 or self.temperature <= 0 or not 0.0 <= self.weight <= 1.0:
            raise ConfigError(
                "distillation: every must be at least 1, reach at least 0, temperature above 0 and weight in [0, 1], "
                f"got {self.every}, {self.reach}, {self.temperature:g} and {self.weight:g}"
            )


def pooled(log_probs: Tensor, num_steps: Tensor, *, reach: int) -> Tensor:
    """Log of the posteriors' maximum over neighbouring steps, normalised again.

    Args:
        log_probs: (B, T, V) float32, natural log; anything past num_steps.
        num_steps: (B,) int64.
        reach: steps on each side.

    Returns:
        (B, T, V) float32, natural log; uniform past num_steps + reach.
    """
    outside = ~step_mask(num_steps, log_probs.shape[1])
    lowest = torch.finfo(log_probs.dtype).min
    values = log_probs.masked_fill(outside[..., None], lowest).transpose(1, 2)
    return F.max_pool1d(values, 2 * reach + 1, stride=1, padding=reach).transpose(1, 2).log_softmax(-1)


def comparison(
    student: Tensor, teacher: Tensor, num_steps: Tensor, *, reach: int = 2, temperature: float = 1.0
) -> Tensor:
    """Mean Kullback-Leibler divergence a step of the student's pooled posteriors from the teacher's.

    Args:
        student: (B, T, V) float32, natural log; anything past num_steps.
        teacher: the same.
        num_steps: (B,) int64.
        reach: see `pooled`.
        temperature: divides the log probabilities first.

    Returns:
        () float32, nats.
    """
    said, wanted = (
        pooled((values / temperature).log_softmax(-1), num_steps, reach=reach) for values in (student, teacher)
    )
    each = (wanted.exp() * (wanted - said)).sum(-1)
    valid = step_mask(num_steps, each.shape[1])
    return each.masked_fill(~valid, 0.0).sum() / valid.sum().clamp(min=1)


def kept_layers(num_layers: int, every: int) -> list[int]:
    """Layers of the teacher that the student starts from; the last is among them.

    >>> kept_layers(12, 3)
    [2, 5, 8, 11]

    Raises:
        ConfigError: the student would have none.
    """
    if num_layers < every:
        raise ConfigError(f"distillation.every={every}: the teacher has {num_layers} layers; take less")
    return list(range(num_layers - 1, -1, -every))[::-1][-(num_layers // every) :]


def student_arguments(arguments: dict[str, Any], *, num_layers: int) -> dict[str, Any]:
    """Arguments of SpeechCtc for a student of so many layers; the rest is as the teacher has it."""
    architecture = dict(arguments["encoder_config"])
    architecture.update({name: num_layers for name in _DEPTHS if name in architecture})
    # Transformers knows Whisper's encoder by both names; older config files hold one of them.
    if not any(name in architecture for name in _DEPTHS):
        architecture["num_hidden_layers"] = num_layers
    return {**arguments, "encoder_config": architecture}


@torch.no_grad()
def start_student(student: SpeechCtc, teacher: SpeechCtc, *, every: int) -> list[int]:
    """Copy every k-th layer and all that isn't a layer.

    Args:
        student: changed in place.
        teacher: of the same width, vocabulary and family.
        every: k.

    Returns:
        The layers of the teacher that were taken.
    """
    kept = kept_layers(teacher.encoder.num_layers, every)
    source, target = teacher.encoder.parts()[1:], student.encoder.parts()[1:]
    layers = {id(value) for layer in target for value in layer.state_dict(keep_vars=True).values()}
    old = teacher.state_dict()
    for name, value in student.state_dict(keep_vars=True).items():
        if id(value) not in layers and value.shape == old[name].shape:
            value.data.copy_(old[name])
    for layer, index in zip(target, kept, strict=True):
        # WavLM's lowest layer alone holds the embedding of distances.
        layer.load_state_dict({**_only(source[0].state_dict(), layer), **_only(source[index].state_dict(), layer)})
    if student.layer_weights is not None and teacher.layer_weights is not None:
        student.layer_weights.copy_(teacher.layer_weights[[0, *(index + 1 for index in kept)]])
    return kept


def _only(state: dict[str, Tensor], module: torch.nn.Module) -> dict[str, Tensor]:
    wanted = module.state_dict()
    return {name: value for name, value in state.items() if name in wanted}


class Distillation(SpeechRecognition):
    """Training of a student. Logs train/teacher, the mean divergence from it, beside the figures of any recogniser.

    The teacher sees the same augmented sound and no masks; it is no part of checkpoints and bundles.

    Args:
        teacher: of the same frame rate and vocabulary.
        distillation: the loss.
        args: of SpeechRecognition.
        kwargs: of SpeechRecognition.
    """

    def __init__(self, *args: Any, teacher: SpeechCtc, distillation: DistillationConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if teacher.stride_seconds != self.encoder.stride_seconds:
            raise ConfigError(
                f"distillation: the teacher's steps are {teacher.stride_seconds:g} s, the student's "
                f"{self.encoder.stride_seconds:g} s; they must be equal"
            )
        self._teacher = (teacher.eval().requires_grad_(False),)  # in a tuple: no submodule
        self._distillation = distillation

    def on_fit_start(self) -> None:
        """Put the teacher beside the student."""
        super().on_fit_start()
        self._teacher[0].to(self.device)

    def _loss(self, batch: CtcBatch, encoded: Encoded) -> CtcLoss:
        result = super()._loss(batch, encoded)
        weight = self._distillation.weight
        if not self.training or not weight:
            return result
        with torch.no_grad():
            wanted = self._teacher[0](batch.inputs, batch.num_frames)
        divergence = comparison(encoded.log_probs, wanted.log_probs, encoded.num_steps,
                                reach=self._distillation.reach, temperature=self._distillation.temperature)  # fmt: skip
        self.log("train/teacher", divergence.detach(), batch_size=len(batch))
        return result._replace(loss=(1.0 - weight) * result.loss + weight * divergence)
