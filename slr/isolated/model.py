"""A recogniser of isolated signs: the trunk of any sign model, and a classifier of its own for every language.

Reference: the isolated recogniser of Zuo et al. ("Towards Online Continuous Sign Language Recognition and Translation",
EMNLP 2024, §3.2) and of Wei and Chen (ICCV 2023): a shared trunk, so that any language's classifier can be asked what
it sees in a sign of another.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from slr.medium import TRUNKS
from slr.models.interface import Reads, Trunk
from slr.models.masking import mask_time

Classifier = Literal["cosine", "linear"]


class Pooled(NamedTuple):
    """What a trunk saw in a batch of windows, by stream.

    whole: name → (B, D) float32, mean over the valid steps.
    foreground: name → (B, D) float32, mean over the frames that belong to the sign; None where they weren't told.
    """

    whole: dict[str, Tensor]
    foreground: dict[str, Tensor] | None


class CosineClassifier(nn.Module):
    """Scaled cosine of the angle between features and one direction per class.

    Args:
        in_dim: D.
        num_classes: V.
        scale: of the cosines, which lie in [-1, 1].
    """

    def __init__(self, in_dim: int, num_classes: int, *, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, in_dim))
        nn.init.normal_(self.weight, std=in_dim**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(B, V) float32 logits of (B, D) float features."""
        # Under bf16 a cosine near 1 has steps of 1/256, which the scale makes a tenth of a nat.
        with torch.autocast(features.device.type, enabled=False):
            directions = functional.normalize(self.weight.float(), dim=-1)
            return self.scale * functional.normalize(features.float(), dim=-1) @ directions.T


class IsolatedSigns(nn.Module):
    """Windows in, one distribution per language out.

    Args:
        trunk_kind: a kind of slr.medium.TRUNKS whose model is a `Trunk`.
        trunk: its settings.
        num_classes: language → classes, the blank (0) included.
        classifier: of each language and stream.
        scale: of cosine classifiers.
        dropout: share of the features dropped before a classifier, in training.
    """

    def __init__(
        self,
        *,
        trunk_kind: str,
        trunk: Mapping[str, Any],
        num_classes: Mapping[str, int],
        classifier: Classifier = "cosine",
        scale: float = 30.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        kind = TRUNKS[trunk_kind]
        module = getattr(importlib.import_module(kind.module), kind.name)(**{**trunk, "vocab_size": 2})
        if not hasattr(module, "step_features"):
            raise ValueError(
                f"a model of kind {trunk_kind!r} lends no features; take keypoints, S3D, I3D or two streams"
            )
        module.drop_heads()
        self.trunk: nn.Module = module
        self.languages = tuple(num_classes)
        self.dropout = nn.Dropout(dropout)
        dims = cast(Trunk, module).feature_dims
        self.streams = tuple(dims)

        def make(in_dim: int, size: int) -> nn.Module:
            return nn.Linear(in_dim, size) if classifier == "linear" else CosineClassifier(in_dim, size, scale=scale)

        # Keyed by number: the name of a language may hold a dot, which the name of a module may not.
        self.classifiers = nn.ModuleDict(
            {stream: nn.ModuleList(make(dim, size) for size in num_classes.values()) for stream, dim in dims.items()}
        )

    @property
    def reads(self) -> Reads:
        """What the trunk reads."""
        return cast(Trunk, self.trunk).reads

    @property
    def stride(self) -> int:
        """Frames per step of the trunk."""
        return cast(Trunk, self.trunk).stride

    def forward(
        self,
        inputs: Tensor,
        num_frames: Tensor,
        *,
        points: Tensor | None = None,
        foreground: Tensor | None = None,
    ) -> Pooled:
        """What the trunk sees.

        Args:
            inputs: (B, T, …), see slr.models.interface.Reads; anything past num_frames.
            num_frames: (B,) int64, at least 1.
            points: (B, T, 63, 3) float32 keypoints beside frames.
            foreground: (B, T) bool, frames that belong to the sign; None where nobody asks.
        """
        found = cast(Trunk, self.trunk).step_features(inputs, num_frames, points=points)
        whole = {name: _mean(features, found.num_steps) for name, features in found.streams.items()}
        if foreground is None:
            return Pooled(whole, None)
        inside = torch.arange(foreground.shape[1], device=foreground.device) < num_frames[:, None]
        weights = _frames_of_steps(foreground & inside, self.stride, next(iter(found.streams.values())).shape[1])
        parts = {name: _weighed(features, weights, found.num_steps) for name, features in found.streams.items()}
        return Pooled(whole, parts)

    def classify(self, features: Mapping[str, Tensor], language: str) -> dict[str, Tensor]:
        """Stream → (B, V) float32, natural log of the probabilities. features: stream → (B, D) float."""
        number = self.languages.index(language)
        return {
            name: functional.log_softmax(self._classifier(name, number)(self.dropout(values)).float(), dim=-1)
            for name, values in features.items()
        }

    def probabilities(self, features: Mapping[str, Tensor], language: str) -> Tensor:
        """(B, V) float32, natural log of the mean probability over the streams. features: stream → (B, D) float."""
        streams = torch.stack(list(self.classify(features, language).values()))
        return streams.logsumexp(0) - math.log(len(streams))

    def embed(self, features: Mapping[str, Tensor]) -> Tensor:
        """(B, D) float32 of unit length: the streams' features, each of the same length. features: stream → (B, D)."""
        joined = torch.cat([functional.normalize(values.float(), dim=-1) for values in features.values()], dim=-1)
        return joined / math.sqrt(len(features))

    def _classifier(self, stream: str, number: int) -> nn.Module:
        return cast(nn.ModuleList, self.classifiers[stream])[number]


def _mean(features: Tensor, num_steps: Tensor) -> Tensor:
    """(B, D) float32, mean over the valid steps. features: (B, T', D)."""
    return mask_time(features.float(), num_steps).sum(1) / num_steps[:, None]


def _weighed(features: Tensor, weights: Tensor, num_steps: Tensor) -> Tensor:
    """(B, D) float32, mean of the steps by weight; of a window without weight, its plain mean.

    features: (B, T', D); weights: (B, T') float32.
    """
    clean = mask_time(features.float(), num_steps)
    total = weights.sum(1, keepdim=True)
    found = (clean * weights[..., None]).sum(1) / total.clamp(min=1)
    return torch.where(total > 0, found, clean.sum(1) / num_steps[:, None])


def _frames_of_steps(foreground: Tensor, stride: int, num_steps: int) -> Tensor:
    """(B, T') float32, how many of a step's frames are foreground: features brought to frames and averaged there.

    foreground: (B, T) bool.
    """
    padded = functional.pad(foreground.float(), (0, max(0, num_steps * stride - foreground.shape[1])))
    return padded[:, : num_steps * stride].reshape(-1, num_steps, stride).sum(2)
