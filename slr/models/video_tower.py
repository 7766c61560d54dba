"""The video tower on window features: CLIP's vision transformer with windows for patches, over one stream or more.

Reference: CiCo (CVPR 2023, §3.3): window features → 1×1 convolution → position table → the blocks of CLIP's ViT, with
its projection on every token. CiCo also prepends CLIP's class token, which no token may look at and no score counts: it
is left out here.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slr.models.clip_folder import load_clip
from slr.models.dual_encoder import valid_mask


class WindowTower(nn.Module):
    """Features of at most `max_tokens` windows → contextual tokens, one a window.

    A clip's streams (RGB, pose) lie beside each other; a stream that a clip lacks is all zero, and then the others
    carry it. In training a stream of a clip that has several is dropped now and then, so that none is indispensable.

    Args:
        stream_dims: width of each stream's features, in their order.
        vision: settings of transformers' CLIPVisionConfig; the picture and patch sizes don't matter.
        max_tokens: windows of a clip at most.
        stream_dropout: probability that one of a clip's streams is dropped in training.
    """

    def __init__(
        self,
        *,
        stream_dims: Sequence[int],
        vision: Mapping[str, Any],
        max_tokens: int = 64,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        from transformers.models.clip.configuration_clip import CLIPVisionConfig
        from transformers.models.clip.modeling_clip import CLIPEncoder

        config = CLIPVisionConfig(**vision)
        config._attn_implementation = "sdpa"
        self.out_dim = int(config.hidden_size)
        self.stream_dims, self.max_tokens, self.stream_dropout = tuple(stream_dims), max_tokens, stream_dropout
        self.project = nn.ModuleList(nn.Linear(dim, self.out_dim) for dim in stream_dims)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in stream_dims)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, self.out_dim))
        self.pre_layrnorm = nn.LayerNorm(self.out_dim, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(self.out_dim, eps=config.layer_norm_eps)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of a batch.

        Args:
            inputs: (B, M, sum of stream_dims) float16 or float32, M at most max_tokens; zero past lengths, and zero in
                a stream that the clip lacks.
            lengths: (B,) int64, windows of each clip, at least 1.

        Returns:
            (B, M, out_dim) float32 with anything past the lengths, and the lengths.
        """
        size = inputs.shape[1]
        if size > self.max_tokens:
            raise ValueError(f"a clip has {size} windows, the tower takes {self.max_tokens}; choose windows first")
        valid = valid_mask(lengths, size)
        hidden = self.pre_layrnorm(self._streams(inputs) + self.position[:size])
        # Padded positions see themselves alone: a row without any key would be NaN.
        itself = torch.eye(size, dtype=torch.bool, device=inputs.device)
        mask = (valid[:, None, :] | itself)[:, None]
        hidden = self.encoder(inputs_embeds=hidden, attention_mask=mask).last_hidden_state
        return self.post_layernorm(hidden), lengths

    def load_clip(self, folder: str | Path) -> None:
        """Take the blocks and norms of a local CLIP model; the stem stays as it is, since windows are no patches."""
        state = load_clip(folder).vision
        own = [name for name in self.state_dict() if not name.startswith(("project.", "norms.", "position"))]
        self.load_state_dict({name: state[name] for name in own}, strict=False)

    def _streams(self, inputs: Tensor) -> Tensor:
        """(B, M, out_dim), mean of the streams that each clip has."""
        parts = torch.split(inputs.float(), list(self.stream_dims), dim=-1)
        there = torch.stack([part.flatten(1).any(dim=1) for part in parts], dim=1)  # (B, S)
        if self.training and self.stream_dropout > 0 and len(parts) > 1:
            there = self._dropped(there)
        embedded = torch.stack(
            [project(norm(part)) for project, norm, part in zip(self.project, self.norms, parts, strict=True)], dim=1
        )
        weights = there / there.sum(dim=1, keepdim=True).clamp(min=1)
        return (embedded * weights[:, :, None, None]).sum(dim=1)

    def _dropped(self, there: Tensor) -> Tensor:
        """(B, S) bool, with one stream gone from some of the clips that have several."""
        chosen = torch.rand(there.shape, device=there.device).masked_fill(~there, -1).argmax(dim=1)
        drop = (torch.rand(len(there), device=there.device) < self.stream_dropout) & (there.sum(dim=1) > 1)
        return there & ~(functional.one_hot(chosen, there.shape[1]).bool() & drop[:, None])


@dataclass
class WindowTowerConfig:
    """Sizes of the video tower."""

    clip_dir: str = ""
    """Local folder of a CLIP model (config.json and safetensors): its vision transformer gives sizes and weights, and
    its projection the first layer into the common space. "" starts from chance with the sizes below."""
    width: int = 256
    num_layers: int = 4
    num_heads: int = 4
    dropout: float = 0.0
    """Of the attention weights, CLIP's only dropout."""
    max_tokens: int = 64
    """Windows of a clip at most, spread evenly over it."""
    stream_dropout: float = 0.2
    """Probability that a training clip with several streams loses one."""

    def __post_init__(self) -> None:
        if self.max_tokens < 2 or min(self.width, self.num_layers, self.num_heads) < 1:
            raise ValueError("signs: max_tokens must be at least 2, width, num_layers and num_heads at least 1")
        if self.width % self.num_heads:
            raise ValueError(f"signs.width={self.width} must be a multiple of signs.num_heads={self.num_heads}")
        if not 0 <= self.stream_dropout < 1:
            raise ValueError(f"signs.stream_dropout must be in [0, 1), got {self.stream_dropout}")

    def settings(self, stream_dims: Sequence[int]) -> dict[str, Any]:
        """Plain arguments of `WindowTower`."""
        if self.clip_dir:
            vision = load_clip(self.clip_dir).vision_settings
        else:
            vision = {
                "hidden_size": self.width,
                "intermediate_size": 4 * self.width,
                "num_hidden_layers": self.num_layers,
                "num_attention_heads": self.num_heads,
                "attention_dropout": self.dropout,
            }
        return {
            "stream_dims": list(stream_dims),
            "vision": vision,
            "max_tokens": self.max_tokens,
            "stream_dropout": self.stream_dropout,
        }
