"""Rows of a new output layer from those of an old one: copied where tokens are shared, composed elsewhere.

CTC's output matrix has a row per token that acts on an acoustic state, and spikes lie near the end of what is said. So
a piece of several characters starts as the weighted mean of their rows with most weight on the last one, and its bias
falls by how much rarer it is than they are. Copying the blank alone spares training the plateau of all blanks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from signwave.text import SPACE_TOKEN, WORD_START

LAST_WEIGHT = 0.7
_RANDOM_SHARE = 0.1


@dataclass(frozen=True)
class Rows:
    """An output layer and where its rows come from.

    Attributes:
        weight: (V, D) float32.
        bias: (V,) float32.
        copied: tokens whose row is the old one.
        composed: tokens whose row is made of old ones.
        random: tokens that the old vocabulary can't spell.
    """

    weight: Tensor
    bias: Tensor
    copied: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()
    random: tuple[str, ...] = ()


@dataclass(frozen=True)
class Composition:
    """How a token is put together from old ones.

    Attributes:
        last_weight: share of its last part; the others share the rest evenly.
        counts: token → occurrences in the training texts, old and new; without them biases are only averaged.
        spelling: token → the old tokens that it stands for, such as a letter of another script; over its characters.
    """

    last_weight: float = LAST_WEIGHT
    counts: tuple[Mapping[str, int], Mapping[str, int]] | None = None
    spelling: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def parts(self, token: str) -> list[str]:
        """Old tokens of a token, in the order in which they are heard."""
        if token in self.spelling:
            return list(self.spelling[token])
        return [SPACE_TOKEN if char == " " else char for char in token.replace(WORD_START, "")]

    def weights(self, num_parts: int) -> Tensor:
        """(num_parts,) float64, adding up to 1."""
        if num_parts == 1:
            return torch.ones(1, dtype=torch.float64)
        weights = torch.full((num_parts,), (1.0 - self.last_weight) / (num_parts - 1), dtype=torch.float64)
        weights[-1] = self.last_weight
        return weights

    def rarity(self, token: str, parts: Sequence[str], weights: Tensor) -> float:
        """Natural log of the token's count over the weighted geometric mean of its parts' counts; at most 0."""
        if self.counts is None:
            return 0.0
        old, new = self.counts
        mean = sum(w * math.log(max(1, old.get(part, 0))) for w, part in zip(weights.tolist(), parts, strict=True))
        return float(min(0.0, math.log(max(1, new.get(token, 0))) - mean))


def transfer_rows(
    weight: Tensor,
    bias: Tensor,
    old_tokens: Sequence[str],
    new_tokens: Sequence[str],
    *,
    composition: Composition | None = None,
    generator: torch.Generator | None = None,
) -> Rows:
    """Make the output layer of a new vocabulary.

    Args:
        weight: (V_old, D) float32.
        bias: (V_old,) float32.
        old_tokens: V_old tokens, the blank first.
        new_tokens: V_new tokens, the blank first.
        composition: of tokens that the old vocabulary lacks.
        generator: of the rows that can't be composed: a tenth as large as the old ones, at their lowest bias.

    Raises:
        ValueError: layer and tokens don't fit each other.
    """
    if len(old_tokens) != len(weight) or len(weight) != len(bias):
        raise ValueError(f"{len(old_tokens)} old tokens, but {len(weight)} rows and {len(bias)} biases")
    if old_tokens[0] != new_tokens[0]:
        raise ValueError(f"token 0 is the blank in both vocabularies, got '{old_tokens[0]}' and '{new_tokens[0]}'")
    composition = composition or Composition()
    index = {token: row for row, token in enumerate(old_tokens)}
    scale = _RANDOM_SHARE * float(weight.std(unbiased=False))
    new_weight = scale * torch.randn((len(new_tokens), weight.shape[1]), generator=generator)
    new_bias = torch.full((len(new_tokens),), float(bias.min()))
    sources: dict[str, list[str]] = {"copied": [], "composed": [], "random": []}
    for row, token in enumerate(new_tokens):
        parts = [token] if token in index else composition.parts(token)
        if not parts or any(part not in index for part in parts):
            sources["random"].append(token)
            continue
        weights = composition.weights(len(parts))
        places = torch.tensor([index[part] for part in parts])
        new_weight[row] = (weights[:, None] * weight[places].double()).sum(0).float()
        new_bias[row] = float((weights * bias[places].double()).sum())
        if token not in index:
            new_bias[row] += composition.rarity(token, parts, weights)
        sources["copied" if token in index else "composed"].append(token)
    return Rows(new_weight, new_bias, *(tuple(sources[name]) for name in ("copied", "composed", "random")))
