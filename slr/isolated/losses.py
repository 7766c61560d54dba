"""Losses of a bag of windows that show one sign, and the targets that they pull towards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from signwave.errors import UserError


@dataclass
class BagLossConfig:
    """Weights of the losses; the defaults are those of Zuo et al. (EMNLP 2024)."""

    instance: float = 1.0
    """Cross-entropy of every window."""
    bag: float = 1.0
    """Cross-entropy of the bag's mean probability."""
    foreground: float = 1.0
    """Cross-entropy of the features within the sign alone; not for blanks."""
    label_smoothing: float = 0.2
    similarity_temperature: float = 0.5
    """Of the soft labels from word vectors, where there are any."""


def bag_losses(
    streams: Mapping[str, Tensor],
    foreground: Mapping[str, Tensor] | None,
    targets: Tensor,
    is_sign: Tensor,
    config: BagLossConfig,
) -> dict[str, Tensor]:
    """Losses of a batch, each () float32 and averaged over streams: "instance", "bag", "foreground", and "total".

    Args:
        streams: name → (B * K, V) float32, natural log of the probabilities of the windows, the K of a bag together.
        foreground: the same over the frames of the sign alone.
        targets: (B, V) float32, what each bag should give; rows sum to 1.
        is_sign: (B,) bool, false for blanks.
        config: weights.
    """
    num_bags = len(targets)
    parts = {"instance": torch.zeros((), device=targets.device)}
    parts |= {"bag": parts["instance"], "foreground": parts["instance"]}
    for log_probs in streams.values():
        windows = log_probs.reshape(num_bags, -1, log_probs.shape[1])
        parts["instance"] = parts["instance"] + _cross_entropy(windows, targets[:, None]).mean()
        mean = windows.logsumexp(1) - math.log(windows.shape[1])
        parts["bag"] = parts["bag"] + _cross_entropy(mean, targets).mean()
    for log_probs in (foreground or {}).values():
        windows = log_probs.reshape(num_bags, -1, log_probs.shape[1])
        per_bag = _cross_entropy(windows, targets[:, None]).mean(1)
        parts["foreground"] = parts["foreground"] + (per_bag * is_sign).sum() / is_sign.sum().clamp(min=1)
    parts = {name: value / len(streams) for name, value in parts.items()}
    total = config.instance * parts["instance"] + config.bag * parts["bag"] + config.foreground * parts["foreground"]
    return {**parts, "total": total}


def _cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * log_probs).sum(-1)


def soft_targets(
    glosses: Sequence[str],
    *,
    smoothing: float,
    vectors: Mapping[str, Sequence[float]] | None = None,
    temperature: float = 0.5,
) -> Tensor:
    """(V, V) float32, row y is what a sign of class y should give.

    Without vectors the smoothing is spread evenly over all classes. With them a word's goes to the other words that
    are like it: a softmax of cosine similarities over the temperature, the word itself left out (NLA-SLR, Zuo et al.,
    CVPR 2023, §3.3). The rows of the blank, and of words without a vector, stay even.

    Args:
        glosses: of the classes, the blank first.
        smoothing: share of a row that is taken from its own class.
        vectors: word → vector; glosses are looked up as they are, then in lower case.
        temperature: of the similarities.
    """
    size = len(glosses)
    spread = torch.full((size, size), 1 / size)
    if vectors:
        found = {place: vectors.get(gloss, vectors.get(gloss.lower())) for place, gloss in enumerate(glosses) if place}
        places = [place for place, vector in found.items() if vector is not None]
        if len(places) > 1:
            rows = functional.normalize(torch.tensor([list(found[place] or ()) for place in places]), dim=-1)
            similarities = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
            alike = torch.zeros(len(places), size)
            alike[:, places] = torch.softmax(similarities, dim=-1)
            spread[places] = alike
    return (1 - smoothing) * torch.eye(size) + smoothing * spread


def read_vectors(path: str | Path) -> dict[str, list[float]]:
    """Word vectors in text form, as fastText writes them (.vec): a word and its numbers on each line.

    Raises:
        UserError: the file is missing, or a line has another number of values.
    """
    found: dict[str, list[float]] = {}
    dim = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word, *values = line.rstrip().split(" ")
                if number == 1 and len(values) == 1:
                    continue  # fastText's first line counts words and dimensions
                found[word] = [float(value) for value in values]
                dim = dim or len(values)
                if len(values) != dim or not dim:
                    raise UserError(f"{path}:{number}: has {len(values)} values, the first line has {dim}")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: can't be read as word vectors ({error}); give a text file of fastText") from error
    if not found:
        raise UserError(f"{path}: holds no word vector")
    return found
