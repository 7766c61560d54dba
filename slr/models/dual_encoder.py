"""Two towers that meet in one space: hands or window features on one side, characters or pieces on the other.

Each tower gives unit-length tokens (for the fine-grained score) and one unit-length vector per item (for the index).
M stands for the tokens of a clip, N for the tokens of a text.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from slr.keypoints.hand_transforms import NUM_COORDS, NUM_POINTS, HandFeatures

PADDING, UNKNOWN = 0, 1
"""Ids that every text tower keeps free: padding, and a text without any character it knows."""
_MAX_LOG_SCALE = math.log(100.0)


class Embedded(NamedTuple):
    """What either side of the model returns.

    tokens: (B, N, D) float32, unit length, zero past num_tokens.
    num_tokens: (B,) int64, valid tokens of each item, at least 1.
    pooled: (B, D) float32, unit length, one vector per item.
    """

    tokens: Tensor
    num_tokens: Tensor
    pooled: Tensor


def join_embedded(parts: Sequence[Embedded]) -> Embedded:
    """Several parts as one, padded to the longest."""
    size = max(part.tokens.shape[1] for part in parts)
    padded = [functional.pad(part.tokens, (0, 0, 0, size - part.tokens.shape[1])) for part in parts]
    num_tokens, pooled = torch.cat([p.num_tokens for p in parts]), torch.cat([p.pooled for p in parts])
    return Embedded(torch.cat(padded), num_tokens, pooled)


class Tower(Protocol):
    """What DualEncoder asks of a tower: contextual tokens, not yet in the common space."""

    out_dim: int

    def __call__(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, out_dim) float32 with anything past their number, and that number (B,) int64."""


def valid_mask(lengths: Tensor, size: int) -> Tensor:
    """(B, size) bool, true on the first `lengths` positions."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def sinusoids(size: int, dim: int, device: torch.device) -> Tensor:
    """(size, dim) float32, fixed position code: works for any length."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000.0) / dim))
    angles = torch.arange(size, device=device)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]


class ContextLayers(nn.Module):
    """Pre-norm transformer layers that never look at padding."""

    def __init__(self, dim: int, *, num_layers: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            dim, num_heads, 2 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """inputs: (B, N, D) float32. Returns the same shape; positions past `lengths` hold anything."""
        inputs = inputs + sinusoids(inputs.shape[1], inputs.shape[2], inputs.device)
        hidden: Tensor = self.layers(inputs, src_key_padding_mask=~valid_mask(lengths, inputs.shape[1]))
        return hidden


class PoseTower(nn.Module):
    """Hand features → strided convolutions (the windows) → transformer: one token every `stride` frames."""

    kernel_size = 5

    def __init__(
        self, *, dim: int, num_halvings: int, num_layers: int, num_heads: int, dropout: float, max_tokens: int = 64
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.stride = 2**num_halvings
        self.max_tokens = max_tokens
        self.dropout = dropout
        self.features = HandFeatures()
        self.project = nn.Linear(self.features.num_features + 2 * NUM_COORDS, dim)
        self.windows = nn.ModuleList(
            nn.Conv1d(dim, dim, self.kernel_size, stride=2, padding=self.kernel_size // 2) for _ in range(num_halvings)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_halvings))
        self.context = ContextLayers(dim, num_layers=num_layers, num_heads=num_heads, dropout=dropout)

    def num_tokens(self, num_frames: Tensor) -> Tensor:
        """(B,) int64, tokens of clips of so many frames."""
        tokens: Tensor = (num_frames + self.stride - 1) // self.stride
        return tokens.clamp(1, self.max_tokens)

    def token_frames(self, num_frames: int) -> list[tuple[int, int]]:
        """Half-open span of frames that each token of one clip stands for."""
        total = max(1, -(-num_frames // self.stride))
        chosen = _evenly(total, self.max_tokens)
        return [(i * self.stride, min((i + 1) * self.stride, max(num_frames, 1))) for i in chosen]

    def forward(self, inputs: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """inputs: (B, T, 126) float32, hands; anything past num_frames. num_frames: (B,) int64, at least 1."""
        # Hand features know no place, and some letters differ in where the hands are.
        wrists = inputs.view(*inputs.shape[:2], 2, NUM_POINTS // 2, NUM_COORDS)[:, :, :, 0].flatten(2)
        hidden, lengths = self.project(torch.cat([self.features(inputs, num_frames), wrists], dim=-1)), num_frames
        for window, norm in zip(self.windows, self.norms, strict=True):
            # Zeroing before each convolution makes a clip in a batch see what it sees alone.
            hidden = hidden * valid_mask(lengths, hidden.shape[1])[..., None]
            hidden = functional.gelu(norm(window(hidden.transpose(1, 2)).transpose(1, 2)))
            hidden = functional.dropout(hidden, self.dropout, self.training)
            lengths = (lengths + 1) // 2
        hidden, lengths = self._choose(hidden, lengths)
        contextual: Tensor = self.context(hidden, lengths)
        return contextual, lengths

    def _choose(self, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """At most max_tokens per clip, spread evenly, as CiCo chooses its windows."""
        if hidden.shape[1] <= self.max_tokens:
            return hidden, lengths
        places = torch.arange(self.max_tokens, device=hidden.device).expand(len(lengths), -1)
        spread = places * (lengths[:, None] - 1) // (self.max_tokens - 1)  # as `_evenly`, for all clips at once
        index = torch.where(lengths[:, None] > self.max_tokens, spread, places)
        picked = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[2]))
        return picked, lengths.clamp(max=self.max_tokens)


def _evenly(total: int, limit: int) -> list[int]:
    """Indices 0 … total-1, or `limit` of them with the first and the last."""
    if total <= limit:
        return list(range(total))
    return [i * (total - 1) // (limit - 1) for i in range(limit)]


class CharacterTower(nn.Module):
    """Characters → embeddings → transformer. Any script.

    The first tokens are learned ones that stand for no character: there the tower can write what the word is called in
    another language, letter by letter, for the signs that spell that.
    """

    def __init__(
        self,
        num_characters: int,
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
        num_extra_tokens: int = 0,
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.num_extra_tokens = num_extra_tokens
        self.extra = nn.Parameter(torch.randn(num_extra_tokens, dim))
        self.embed = nn.Embedding(num_characters, dim, padding_idx=PADDING)
        # Neighbouring characters belong together (sch, ال); the convolution says so from the first step on.
        self.mix = nn.Conv1d(dim, dim, 3, padding=1)
        self.context = ContextLayers(dim, num_layers=num_layers, num_heads=num_heads, dropout=dropout)

    def forward(self, ids: Tensor, num_characters: Tensor) -> tuple[Tensor, Tensor]:
        """ids: (B, N) int64, PADDING past num_characters. num_characters: (B,) int64, at least 1."""
        embedded = self.embed(ids)
        hidden = embedded + self.mix(embedded.transpose(1, 2)).transpose(1, 2)
        hidden = torch.cat([self.extra.expand(len(ids), -1, -1), hidden], dim=1)
        num_tokens = num_characters + self.num_extra_tokens
        contextual: Tensor = self.context(hidden, num_tokens)
        return contextual, num_tokens


class DualEncoder(nn.Module):
    """A sign tower and a text tower with heads into the common space.

    Any text encoder can take the text tower's place: it needs `out_dim` and (ids, lengths) → (tokens, lengths).
    """

    def __init__(self, signs: nn.Module, texts: nn.Module, *, dim: int) -> None:
        super().__init__()
        self.signs, self.texts = signs, texts
        self.sign_head, self.text_head = Head(_out_dim(signs), dim), Head(_out_dim(texts), dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.log_scale_pooled = nn.Parameter(torch.tensor(math.log(20.0)))

    def embed_signs(self, inputs: Tensor, num_frames: Tensor) -> Embedded:
        """inputs: (B, T, F) float, what the sign tower reads. num_frames: (B,) int64, at least 1."""
        embedded: Embedded = self.sign_head(*self.signs(inputs, num_frames))
        return embedded

    def embed_texts(self, ids: Tensor, num_tokens: Tensor) -> Embedded:
        """ids: (B, N) int64, 0 past num_tokens. num_tokens: (B,) int64, at least 1."""
        embedded: Embedded = self.text_head(*self.texts(ids, num_tokens))
        return embedded

    def scales(self) -> tuple[Tensor, Tensor]:
        """What the logits are multiplied by, () float32 each and at most 100: fine-grained score, pooled vectors."""
        return self.log_scale.clamp(max=_MAX_LOG_SCALE).exp(), self.log_scale_pooled.clamp(max=_MAX_LOG_SCALE).exp()

    def forward(self, inputs: Tensor, num_frames: Tensor, ids: Tensor, num_tokens: Tensor) -> tuple[Embedded, Embedded]:
        """Both sides of a batch; see embed_signs and embed_texts."""
        return self.embed_signs(inputs, num_frames), self.embed_texts(ids, num_tokens)


class Head(nn.Module):
    """Tokens into the common space, and their attention-weighted mean as the vector of the item."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Linear(in_dim, dim)
        self.pooled = nn.Linear(in_dim, dim)
        self.weigh = nn.Linear(in_dim, 1)

    def forward(self, hidden: Tensor, lengths: Tensor) -> Embedded:
        """hidden: (B, N, in_dim) float32, anything past lengths. lengths: (B,) int64."""
        valid = valid_mask(lengths, hidden.shape[1])
        weights = self.weigh(hidden)[..., 0].masked_fill(~valid, -torch.inf).softmax(dim=1)
        # where(), not a product: a value past the end may be anything, and 0 x inf is not 0.
        mean = torch.where(valid[..., None], hidden * weights[..., None], 0.0).sum(dim=1)
        tokens = functional.normalize(self.tokens(hidden), dim=-1)
        return Embedded(
            tokens=torch.where(valid[..., None], tokens, 0.0),
            num_tokens=lengths,
            pooled=functional.normalize(self.pooled(mean), dim=-1),
        )


def _out_dim(tower: nn.Module) -> int:
    out_dim = getattr(tower, "out_dim", None)
    if not isinstance(out_dim, int):
        raise ValueError(f"{type(tower).__name__} has no integer out_dim; a tower says how wide its tokens are")
    return out_dim
