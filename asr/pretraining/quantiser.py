"""wav2vec 2.0's product quantiser with a lookup in each group's codebook instead of products with one-hot vectors.

The parameters have the names and shapes of `Wav2Vec2GumbelVectorQuantizer` of transformers, so its checkpoints load.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from signwave.errors import ConfigError


class Quantised(NamedTuple):
    """What the quantiser gives for N frames.

    vectors: (N, D) float32, the codes' vectors, all groups one after another.
    codes: (N, G) int64 in [0, V), with the Gumbel noise where there is any.
    logits: (N, G, V) float32, without noise.
    """

    vectors: Tensor
    codes: Tensor
    logits: Tensor


class GumbelQuantiser(nn.Module):
    """Frames to one code of each group; in training a hard straight-through Gumbel soft-max, else the best code.

    Args:
        input_width: C of the frames.
        num_groups: G.
        num_codes: V of each group.
        width: D of the vectors of all groups together.
    """

    def __init__(self, input_width: int, *, num_groups: int = 2, num_codes: int = 320, width: int = 768) -> None:
        super().__init__()
        if width % num_groups:
            raise ConfigError(f"codevector_dim={width} must be divisible by num_codevector_groups={num_groups}")
        self.num_groups, self.num_codes = num_groups, num_codes
        self.codevectors = nn.Parameter(torch.empty(1, num_groups * num_codes, width // num_groups))
        self.weight_proj = nn.Linear(input_width, num_groups * num_codes)
        nn.init.uniform_(self.codevectors)
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)

    def forward(
        self,
        frames: Tensor,
        *,
        temperature: float,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantised:
        """Quantise frames.

        Args:
            frames: (N, C) float32.
            temperature: of the soft-max.
            noise: (N, G, V) float32, Gumbel noise; drawn where it isn't given.
            generator: of the noise, on the device of the frames.
        """
        logits = self.weight_proj(frames).view(len(frames), self.num_groups, self.num_codes)
        codebook = self.codevectors.view(self.num_groups, self.num_codes, -1)
        if not self.training:
            codes = logits.argmax(-1)
            return Quantised(_look_up(codebook, codes).flatten(1), codes, logits)
        if noise is None:
            noise = torch.empty_like(logits).exponential_(generator=generator).log_().neg_()
        soft = ((logits + noise) / temperature).softmax(-1)
        codes = soft.argmax(-1)
        vectors: Tensor = _StraightThrough.apply(soft, codes, codebook)  # type: ignore[no-untyped-call]
        return Quantised(vectors.flatten(1), codes, logits)


class _StraightThrough(torch.autograd.Function):
    """Forward the code's vector; backward as if the vector were the mean of all under the soft-max."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, codes: Tensor, codebook: Tensor) -> Tensor:
        """(N, G, D / G) of soft (N, G, V), codes (N, G) and codebook (G, V, D / G)."""
        ctx.save_for_backward(codes, codebook)
        return _look_up(codebook, codes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor]:
        """Gradients by soft and by the codebook."""
        codes, codebook = ctx.saved_tensors
        by_group = gradients[0].transpose(0, 1)  # (G, N, D / G)
        soft = torch.bmm(by_group, codebook.transpose(1, 2)).transpose(0, 1)
        # A product, not a scattered sum: on a GPU that would add up in another order each time.
        chosen = torch.zeros(*codes.shape, codebook.shape[1], dtype=by_group.dtype, device=codes.device)
        chosen.scatter_(2, codes[..., None], 1.0)
        return soft, None, torch.bmm(chosen.permute(1, 2, 0), by_group)


def _look_up(codebook: Tensor, codes: Tensor) -> Tensor:
    """(N, G, D / G): the vector of each group's code."""
    return torch.stack([codebook[group, codes[:, group]] for group in range(len(codebook))], dim=1)


def perplexity(probabilities: Tensor) -> Tensor:
    """() float32: the perplexity of each group's distribution over codes, added up; probabilities (G, V)."""
    return torch.exp(-torch.xlogy(probabilities, probabilities).sum(-1)).sum()
