"""Keypoints to gloss probabilities: one encoder per group of points, joined, and conformer blocks over time.

Hands, body and mouth are encoded apart, each about its own root, as in MSKA (Guan et al., 2024) and CoSign (Jiao et
al., ICCV 2023): a hand's shape then means the same wherever the hand is. On request each group has a CTC head of its
own, which the main head teaches; only the main one is decoded. With a limited attention radius a step sees a limited
stretch of frames, so that a long video can be read in windows.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.batch import Encoded
from slr.models.conformer import Conformer
from slr.models.interface import MAIN, Distillation, HeadLosses, Heads, Reads, StepFeatures
from slr.models.masking import conv_steps, mask_time

NUM_POINTS = 63
_HAND_PARENTS = (0, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
_BODY_PARENTS = (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8)  # nose, eyes, ears, shoulders, elbows, wrists
_FRONT_KERNEL = 5


class _Group(NamedTuple):
    """Points of one part of the body.

    Attributes:
        name: also the name of its head.
        first: its first point among the 63.
        parents: for each point its neighbour towards the root, counted from `first`.
        root: the point that the others are measured from; None: the middle of the points that are seen.
        scale: brings coordinates, in shoulder widths about the root, to about unit variance.
    """

    name: str
    first: int
    parents: tuple[int, ...]
    root: int | None
    scale: float


GROUPS = (
    _Group("left_hand", 0, _HAND_PARENTS, 0, 5.0),
    _Group("right_hand", 21, _HAND_PARENTS, 0, 5.0),
    _Group("body", 42, _BODY_PARENTS, None, 1.5),
    _Group("mouth", 53, (0,) * 10, None, 10.0),
)


@dataclass
class KeypointConformerConfig:
    """Settings of KeypointConformer; the defaults train in minutes on one CPU core."""

    dim: int = 128
    """Width of the conformer blocks."""
    group_dim: int = 48
    """Width of each group's encoder."""
    num_blocks: int = 2
    num_heads: int = 4
    kernel_size: int = 9
    """Of the blocks' convolutions over steps, odd."""
    feed_forward_factor: int = 2
    num_halvings: int = 2
    """Convolutions of stride 2: the model gives one step per 2 ** num_halvings frames."""
    stream_kernel_size: int = 9
    """Of the last convolution within each group, over steps, odd. What a step sees before attention decides how near
    its sign CTC lets a peak come: 3 with attention_radius_steps=1 and kernel_size=1 gives times within two frames."""
    attention_radius_steps: int | None = None
    """Steps to either side that attention sees; None = the whole clip. 16 is 2.6 s at stride 4 and 25 frames/s."""
    dropout: float = 0.1
    group_dropout: float = 0.1
    """Probability that a group is hidden from the main head for a whole clip, in training."""
    auxiliary_weight: float = 0.0
    """Weight of each group's CTC loss; 0 builds no heads for the groups. MSKA trains with them; on a hundred clips the
    main head learns faster alone."""
    distillation_weight: float = 0.2
    """Weight of what the main head teaches each group's."""

    def __post_init__(self) -> None:
        if self.num_halvings < 0 or min(self.dim, self.group_dim, self.num_heads, self.feed_forward_factor) < 1:
            raise ValueError(
                "num_halvings must be at least 0, dim, group_dim, num_heads and feed_forward_factor at least 1; got "
                f"{self.num_halvings}, {self.dim}, {self.group_dim}, {self.num_heads} and {self.feed_forward_factor}"
            )
        if self.stream_kernel_size < 1 or self.stream_kernel_size % 2 == 0:
            raise ValueError(f"stream_kernel_size must be odd and positive, got {self.stream_kernel_size}")
        if not (0 <= self.dropout < 1 and 0 <= self.group_dropout < 1):
            raise ValueError(
                f"dropout and group_dropout must be in [0, 1), got {self.dropout} and {self.group_dropout}"
            )
        if self.auxiliary_weight < 0 or self.distillation_weight < 0:
            raise ValueError(
                "auxiliary_weight and distillation_weight must be at least 0, got "
                f"{self.auxiliary_weight} and {self.distillation_weight}"
            )

    def build(self, *, vocab_size: int) -> "KeypointConformer":
        """The model for a vocabulary of `vocab_size` tokens, the blank included."""
        return KeypointConformer(vocab_size=vocab_size, **asdict(self))


class KeypointConformer(nn.Module):
    """Keypoints in, log-probabilities out; a clip gives the same whether it is padded or not.

    Args:
        vocab_size: tokens, the blank (0) included.
        dim: width of the blocks.
        group_dim: width of each group's encoder.
        num_blocks: conformer blocks.
        num_heads: of the attention.
        kernel_size: of the blocks' convolutions, odd.
        feed_forward_factor: width of the feed-forward layers over `dim`.
        num_halvings: convolutions of stride 2.
        stream_kernel_size: of the last convolution within each group, odd.
        attention_radius_steps: steps to either side that attention sees; None = the whole clip.
        dropout: share of activations dropped in training.
        group_dropout: probability that a group is hidden from the main head, in training.
        auxiliary_weight: weight of each group's CTC loss; 0 builds no heads for the groups.
        distillation_weight: weight of what the main head teaches them.
    """

    reads: Reads = "keypoints"

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 128,
        group_dim: int = 48,
        num_blocks: int = 2,
        num_heads: int = 4,
        kernel_size: int = 9,
        feed_forward_factor: int = 2,
        num_halvings: int = 2,
        stream_kernel_size: int = 9,
        attention_radius_steps: int | None = None,
        dropout: float = 0.1,
        group_dropout: float = 0.1,
        auxiliary_weight: float = 0.0,
        distillation_weight: float = 0.2,
    ) -> None:
        super().__init__()
        self.stride: int = 2**num_halvings
        self.dim = dim
        self.stream_kernel_size = stream_kernel_size
        self.group_dropout = group_dropout
        self.auxiliary_weight, self.distillation_weight = auxiliary_weight, distillation_weight
        self.groups = nn.ModuleList(_GroupFeatures(group, group_dim) for group in GROUPS)
        width = group_dim * len(GROUPS)
        self.halvings = nn.ModuleList(
            _StreamConv(len(GROUPS), group_dim, _FRONT_KERNEL, stride=2) for _ in range(num_halvings)
        )
        self.streams = _StreamConv(len(GROUPS), group_dim, stream_kernel_size, stride=1)
        self.dropout = nn.Dropout(dropout)
        self.join = nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim))
        self.conformer = Conformer(
            dim,
            num_blocks=num_blocks,
            num_heads=num_heads,
            kernel_size=kernel_size,
            feed_forward_factor=feed_forward_factor,
            dropout=dropout,
            attention_radius_steps=attention_radius_steps,
        )
        self.output: nn.Module = nn.Linear(dim, vocab_size)
        names = [group.name for group in GROUPS] if auxiliary_weight > 0 else []
        self.group_outputs = nn.ModuleDict({name: nn.Linear(group_dim, vocab_size) for name in names})
        self.receptive_radius_frames = self._radius_frames()

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        """Log-probabilities of a padded batch; arguments as for `heads`."""
        streams, num_steps = self._encode(inputs, num_frames)
        return self._main(streams, num_steps)

    def heads(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Heads:
        """The main head, and one for each group under its name.

        Args:
            inputs: (B, T, 63, 3) float32 keypoints: x, y in shoulder widths, confidence; anything past num_frames.
            num_frames: (B,) int64, at least 1.
            points: not used.
        """
        streams, num_steps = self._encode(inputs, num_frames)
        others = {
            group.name: _encoded(self.group_outputs[group.name](streams[:, :, place]), num_steps)
            for place, group in enumerate(GROUPS)
            if group.name in self.group_outputs
        }
        return Heads(self._main(streams, num_steps), others)

    @property
    def feature_dims(self) -> dict[str, int]:
        """Width of the blocks."""
        return {MAIN: self.dim}

    def step_features(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> StepFeatures:
        """What the output layer reads; arguments as for `heads`."""
        streams, num_steps = self._encode(inputs, num_frames)
        return StepFeatures({MAIN: self._blocks(streams, num_steps)}, num_steps)

    def drop_heads(self) -> None:
        """Remove the output layers."""
        self.output, self.group_outputs = nn.Identity(), nn.ModuleDict()

    def losses(self) -> HeadLosses:
        """CTC on every head; the main one teaches the others."""
        names = list(self.group_outputs)
        taught = names if self.distillation_weight > 0 else []
        return HeadLosses(
            ctc={MAIN: 1.0} | dict.fromkeys(names, self.auxiliary_weight),
            distillations=tuple(Distillation(MAIN, name, self.distillation_weight) for name in taught),
        )

    def _encode(self, inputs: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T', groups, group_dim) float, and (B,) int64, the steps of each item."""
        inputs = mask_time(inputs.float(), num_frames)
        hidden = self.dropout(torch.cat([group(inputs) for group in self.groups], dim=2))
        num_steps = num_frames
        for halving in self.halvings:
            hidden, num_steps = halving(hidden, num_steps)
            hidden = self.dropout(hidden)
        hidden, num_steps = self.streams(hidden, num_steps)
        return self.dropout(hidden).unflatten(2, (len(GROUPS), -1)), num_steps

    def _main(self, streams: Tensor, num_steps: Tensor) -> Encoded:
        return _encoded(self.output(self.dropout(self._blocks(streams, num_steps))), num_steps)

    def _blocks(self, streams: Tensor, num_steps: Tensor) -> Tensor:
        """(B, T', D) float."""
        if self.training and self.group_dropout > 0:
            drawn = torch.rand(streams.shape[0], 1, len(GROUPS), 1, device=streams.device)
            streams = streams * (drawn >= self.group_dropout) / (1 - self.group_dropout)
        hidden: Tensor = self.conformer(self.join(streams.flatten(2)), num_steps)
        return hidden

    def _radius_frames(self) -> int | None:
        if self.conformer.radius_steps is None:
            return None
        in_halvings = _FRONT_KERNEL // 2 * (self.stride - 1)  # the kernel's reach, doubled from one halving to the next
        in_steps = self.stream_kernel_size // 2 + self.conformer.radius_steps
        return 1 + in_halvings + in_steps * self.stride  # the 1: movement looks one frame to either side


def _encoded(logits: Tensor, num_steps: Tensor) -> Encoded:
    # float32 here even under bf16: CTC sums hundreds of probabilities.
    return Encoded(functional.log_softmax(logits.float(), dim=-1), num_steps)


class _GroupFeatures(nn.Module):
    """Place of the root, points about it, directions of the bones, movement of both, and what is seen."""

    _parents: Tensor

    def __init__(self, group: _Group, dim: int) -> None:
        super().__init__()
        self.group = group
        num_points = len(group.parents)
        self.register_buffer("_parents", torch.tensor(group.parents), persistent=False)
        # Per point: place, movement and bone (2 each), confidence, whether it is seen; per group: root and its way.
        self.encode = nn.Sequential(
            nn.Linear(8 * num_points + 4, 2 * dim), nn.LayerNorm(2 * dim), nn.GELU(), nn.Linear(2 * dim, dim),
            nn.LayerNorm(dim), nn.GELU(),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, 63, 3) float32, zero past the end; returns (B, T, dim)."""
        group = self.group
        points = inputs[:, :, group.first : group.first + len(group.parents)]
        confidence = points[..., 2].clamp(0, 1)
        seen = (confidence > 0).float()
        places = points[..., :2] * seen[..., None]
        root, root_seen = _root(places, seen, group.root)
        about = (places - root[:, :, None]) * (seen * root_seen[:, :, None])[..., None]
        bones = functional.normalize(about - about[:, :, self._parents], dim=-1, eps=1e-3)
        both = (seen * seen[:, :, self._parents])[..., None]
        root_move = 10 * _movement(root, root_seen[..., None])
        move = 2 * group.scale * _movement(about, seen[..., None])
        parts = [group.scale * about, move, bones * both, torch.stack([confidence, seen], dim=-1)]
        # Seen flags also stand in for places that aren't known: their weights are a learned "missing" per point.
        encoded: Tensor = self.encode(torch.cat([torch.cat(parts, dim=-1).flatten(2), root, root_move], dim=2))
        return encoded


def _root(places: Tensor, seen: Tensor, root: int | None) -> tuple[Tensor, Tensor]:
    """(B, T, 2) place of a group's root and (B, T) whether there is one.

    places: (B, T, J, 2), zero where not seen; seen: (B, T, J) 0 or 1.
    """
    count = seen.sum(2)
    middle = places.sum(2) / count.clamp(min=1)[..., None]
    any_seen = (count > 0).float()
    if root is None:
        return middle, any_seen
    known = seen[:, :, root, None]
    return places[:, :, root] * known + middle * (1 - known), any_seen


def _movement(places: Tensor, seen: Tensor) -> Tensor:
    """Half the way from the frame before to the frame after, zero at the ends and where either isn't seen.

    places: (B, T, …, 2); seen: (B, T, …, 1) 0 or 1.
    """
    if places.shape[1] < 3:
        return torch.zeros_like(places)
    moved = 0.5 * (places[:, 2:] - places[:, :-2]) * (seen[:, 2:] * seen[:, :-2])
    return functional.pad(moved, (0, 0) * (places.ndim - 2) + (1, 1))


class _StreamConv(nn.Module):
    """A convolution over time within each group, norm over its channels, GELU; a skip where the length stays."""

    def __init__(self, num_groups: int, dim: int, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.stride, self.num_groups = stride, num_groups
        width = num_groups * dim
        self.conv = nn.Conv1d(width, width, kernel_size, stride, kernel_size // 2, groups=num_groups)
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """hidden: (B, T, groups * dim) float, anything past num_steps; num_steps: (B,) int64."""
        # Padding is set to zero before each convolution: that is what a clip alone sees past its ends.
        hidden = mask_time(hidden, num_steps)
        moved = self.conv(hidden.transpose(1, 2)).transpose(1, 2).unflatten(2, (self.num_groups, -1))
        normed = functional.layer_norm(moved.float(), moved.shape[-1:]).flatten(2) * self.weight + self.bias
        moved = functional.gelu(normed).to(hidden.dtype)
        if self.stride == 1:
            return hidden + moved, num_steps
        return moved, conv_steps(num_steps, self.stride)
