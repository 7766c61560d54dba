"""Conformer blocks over steps (Gulati et al., Interspeech 2020, section 2), exact under padding and under chunking.

What differs from the paper: positions are rotary (Su et al., 2021), so that only distances count, and the norm inside
the convolution module is over channels, so that no step's output depends on the batch or on the clip's length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slr.models.masking import mask_time, valid_steps

_ROTARY_BASE = 10_000.0


class Conformer(nn.Module):
    """A stack of blocks.

    Args:
        dim: D, a multiple of twice the heads.
        num_blocks: at least 0.
        num_heads: of the attention.
        kernel_size: of the depthwise convolution over steps, odd.
        feed_forward_factor: width of the feed-forward layers over `dim`.
        dropout: share of activations dropped in training.
        attention_radius_steps: steps to either side that attention sees; None = the whole clip.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_blocks: int,
        num_heads: int,
        kernel_size: int,
        feed_forward_factor: int,
        dropout: float,
        attention_radius_steps: int | None = None,
    ) -> None:
        super().__init__()
        if dim % (2 * num_heads) or kernel_size % 2 == 0:
            raise ValueError(
                f"dim must be a multiple of 2 * num_heads and kernel_size odd; got dim {dim}, num_heads {num_heads}, "
                f"kernel_size {kernel_size}"
            )
        if attention_radius_steps is not None and attention_radius_steps < 0:
            raise ValueError(f"attention_radius_steps must be at least 0 or None, got {attention_radius_steps}")
        self.attention_radius_steps = attention_radius_steps
        self.head_dim = dim // num_heads
        self.blocks = nn.ModuleList(
            _Block(dim, num_heads, kernel_size, feed_forward_factor, dropout) for _ in range(num_blocks)
        )
        self.radius_steps: int | None = radius_steps(num_blocks, kernel_size, attention_radius_steps)

    def forward(self, hidden: Tensor, num_steps: Tensor) -> Tensor:
        """Mix steps.

        Args:
            hidden: (B, T, D) float; anything finite past num_steps.
            num_steps: (B,) int64, at least 1.

        Returns:
            (B, T, D) float; anything finite past num_steps.
        """
        size = hidden.shape[1]
        turns = _turns(size, self.head_dim, hidden.device)
        mask = self._mask(num_steps, size)
        for block in self.blocks:
            hidden = block(hidden, num_steps, mask, turns)
        return hidden

    def _mask(self, num_steps: Tensor, size: int) -> Tensor:
        """(B, 1, 1 or T, T) bool, true where a step (row) may look at a step (column)."""
        keys = valid_steps(num_steps, size)[:, None, None]
        if self.attention_radius_steps is None:
            return keys
        steps = torch.arange(size, device=num_steps.device)
        distance = (steps[:, None] - steps[None, :]).abs()
        # A step past the end sees itself: a row without any key would be NaN.
        return (keys & (distance <= self.attention_radius_steps)) | (distance == 0)


def radius_steps(num_blocks: int, kernel_size: int, attention_radius_steps: int | None) -> int | None:
    """Steps to either side that can change a step of `num_blocks` blocks; None = the whole clip."""
    if num_blocks == 0:
        return 0
    if attention_radius_steps is None:
        return None
    return num_blocks * (attention_radius_steps + kernel_size // 2)


def _turns(size: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles: two (T, head_dim / 2) float32."""
    # float64: at position 4000 a float32 angle is off by 1e-4, and a chunk would differ from the whole clip.
    rates = _ROTARY_BASE ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float64) / head_dim)
    angles = torch.arange(size, device=device, dtype=torch.float64)[:, None] * rates
    return angles.cos().float(), angles.sin().float()


def _turn(values: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions. values: (B, heads, T, head_dim) float."""
    first, second = values.float().chunk(2, dim=-1)
    cosine, sine = turns
    turned = torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return turned.to(values.dtype)


class _Block(nn.Module):
    """Half a feed-forward layer, attention, convolution, the other half, norm (equation 1 of the paper)."""

    def __init__(self, dim: int, num_heads: int, kernel_size: int, feed_forward_factor: int, dropout: float) -> None:
        super().__init__()
        self.before = _feed_forward(dim, feed_forward_factor, dropout)
        self.attention = _Attention(dim, num_heads, dropout)
        self.convolution = _Convolution(dim, kernel_size, dropout)
        self.after = _feed_forward(dim, feed_forward_factor, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor, num_steps: Tensor, mask: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        hidden = hidden + 0.5 * self.before(hidden)
        hidden = hidden + self.attention(hidden, mask, turns)
        hidden = hidden + self.convolution(hidden, num_steps)
        hidden = hidden + 0.5 * self.after(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


def _feed_forward(dim: int, factor: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, factor * dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(factor * dim, dim),
        nn.Dropout(dropout),
    )  # fmt: skip


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm = nn.LayerNorm(dim)
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, hidden: Tensor, mask: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        parts = self.inward(self.norm(hidden)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed = functional.scaled_dot_product_attention(
            _turn(query, turns),
            _turn(key, turns),
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        result: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return result


class _Convolution(nn.Module):
    def __init__(self, dim: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inward = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.middle_norm = nn.LayerNorm(dim)
        self.outward = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim), nn.Dropout(dropout))

    def forward(self, hidden: Tensor, num_steps: Tensor) -> Tensor:
        # Padding is set to zero before the convolution: that is what a clip alone sees past its ends.
        gated = mask_time(functional.glu(self.inward(self.norm(hidden)), dim=-1), num_steps)
        moved = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        result: Tensor = self.outward(self.middle_norm(moved))
        return result
