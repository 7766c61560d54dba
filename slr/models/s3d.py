"""S3D over RGB frames or over heat maps of keypoints, with the head of TwoStream-SLR: its single streams."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from signwave.batch import Encoded
from slr.keypoints.heatmaps import heatmaps
from slr.models.interface import MAIN, HeadLosses, Heads, Reads, StepFeatures
from slr.models.masking import mask_time
from slr.models.pyramid import Pyramid
from slr.models.s3d_layers import Stage
from slr.models.s3d_trunk import S3dTrunk, load_kinetics
from slr.models.slr_head import HEAD_RADIUS_STEPS, SlrHead, pool_space

Normalisation = Literal["kinetics", "half", "half_bgr"]
"""kinetics: mean and deviation of torchvision's weights. half: (x - 0.5) / 0.5, for weights from SLRT's file. half_bgr:
the same with red and blue swapped, as SLRT feeds weights that were trained on RGB."""

_MEAN, _DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


@dataclass
class S3dConfig:
    """Settings of S3d; the defaults are the RGB stream of TwoStream-SLR."""

    stream: Literal["frames", "keypoints"] = "frames"
    """What it reads; keypoints are drawn as heat maps."""
    num_blocks: int = 4
    """Of S3D, 1 to 5; four give a step every 4 frames."""
    width: float = 1.0
    """Factor of every number of channels in the trunk; only 1 can take Kinetics weights."""
    freeze_blocks: int = 0
    """The first so many blocks stay as they are loaded; TwoStream-SLR freezes one of the RGB stream."""
    with_pyramid: bool = False
    """CTC heads on the two blocks before the last one."""
    pyramid_weight: float = 0.2
    """Weight of their losses; TwoStream-SLR takes 0.2 for RGB and 0.5 for keypoints."""
    num_keypoints: int = 63
    heatmap_height_px: int = 112
    heatmap_width_px: int = 112
    sigma_px: float = 8.0
    """Width of a keypoint's spot; it goes with the size of the maps."""
    normalisation: Normalisation = "kinetics"
    """Of pixels; it goes with the weights."""
    head_dim: int = 512
    feedforward_dim: int = 2048
    dropout: float = 0.1
    with_positions: bool = True
    """Tell the head the number of each step, as the paper does. Without, the model can run over a stream in chunks."""
    norm_momentum: float = 0.01
    """Share of a batch in the trunk's running statistics. S3D and TwoStream-SLR take 0.001, which
    forgets the start only after thousands of steps; a short run from scratch needs 0.1."""
    checkpoint_layers: bool = False
    """Compute activations twice instead of keeping them: far less memory, a third more time. Not with torch.compile."""

    def build(self, *, vocab_size: int) -> "S3d":
        """The model for a vocabulary of `vocab_size` tokens, the blank included."""
        return S3d(vocab_size=vocab_size, **dataclasses.asdict(self))


class S3d(nn.Module):
    """Frames or keypoints in, log-probabilities out. See S3dConfig for the arguments.

    Reference: Chen et al., "Two-Stream Network for Sign Language Recognition and Translation", NeurIPS 2022, §3.1.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        vocab_size: int,
        stream: Literal["frames", "keypoints"] = "frames",
        num_blocks: int = 4,
        width: float = 1.0,
        freeze_blocks: int = 0,
        with_pyramid: bool = False,
        pyramid_weight: float = 0.2,
        num_keypoints: int = 63,
        heatmap_height_px: int = 112,
        heatmap_width_px: int = 112,
        sigma_px: float = 8.0,
        normalisation: Normalisation = "kinetics",
        head_dim: int = 512,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        with_positions: bool = True,
        norm_momentum: float = 0.01,
        checkpoint_layers: bool = False,
    ) -> None:
        super().__init__()
        if stream not in ("frames", "keypoints"):
            raise ValueError(f"stream must be 'frames' or 'keypoints', got {stream!r}")
        self.reads: Reads = stream
        self.num_keypoints, self.sigma_px = num_keypoints, sigma_px
        self.heatmap_size_px = (heatmap_height_px, heatmap_width_px)
        self.pyramid_weight = pyramid_weight
        self.trunk = S3dTrunk(
            in_channels=3 if stream == "frames" else num_keypoints,
            num_blocks=num_blocks,
            width=width,
            freeze_blocks=freeze_blocks,
            norm_momentum=norm_momentum,
            checkpoint_layers=checkpoint_layers,
        )
        self.stride = self.trunk.block_strides[-1]
        self.receptive_radius_frames = (
            None if with_positions else self.trunk.radius_frames + HEAD_RADIUS_STEPS * self.stride
        )
        head: dict[str, Any] = {"dim": head_dim, "feedforward_dim": feedforward_dim, "dropout": dropout}
        self.head: nn.Module = SlrHead(self.trunk.block_channels[-1], vocab_size, with_positions=with_positions, **head)
        self.pyramid = (
            Pyramid(self.trunk, vocab_size, norm_momentum=norm_momentum, with_positions=with_positions, **head)
            if with_pyramid
            else None
        )
        scale, shift, self.swap_colours = _normaliser(normalisation)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        """The main head of `heads`; the pyramid, which only trains the trunk, is left out."""
        return self.answer(inputs, num_frames, all_heads=False).main

    def heads(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Heads:
        """All heads: the main one, and with a pyramid one per finer block ("c2", "c3").

        Args:
            inputs: (B, T, 3, H, W) uint8 RGB, or (B, T, J, 3) float32 keypoints (slr.keypoints.layout); anything past
                num_frames.
            num_frames: (B,) int64, at least 1.
            points: not read.
        """
        return self.answer(inputs, num_frames, all_heads=True)

    def answer(self, inputs: Tensor, num_frames: Tensor, *, all_heads: bool) -> Heads:
        """All heads, or the main one alone."""
        return self.classify(self.trunk(self.prepare(inputs, num_frames), num_frames), all_heads=all_heads)

    def classify(self, stages: Sequence[Stage], *, all_heads: bool) -> Heads:
        """The heads over the outputs of all blocks."""
        main: Encoded = self.head(pool_space(stages[-1]), stages[-1].num_steps)
        return Heads(main, {} if self.pyramid is None or not all_heads else self.pyramid(stages))

    @property
    def feature_dims(self) -> dict[str, int]:
        """Channels of the last block."""
        return {MAIN: self.trunk.block_channels[-1]}

    def step_features(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> StepFeatures:
        """The last block's output, averaged over space; arguments as for `heads`."""
        last = self.trunk(self.prepare(inputs, num_frames), num_frames)[-1]
        return StepFeatures({MAIN: pool_space(last)}, last.num_steps)

    def drop_heads(self) -> None:
        """Remove the main head and the pyramid."""
        self.head, self.pyramid = nn.Identity(), None

    def losses(self) -> HeadLosses:
        """CTC on each head."""
        names = () if self.pyramid is None else self.pyramid.names
        return HeadLosses({MAIN: 1.0, **dict.fromkeys(names, self.pyramid_weight)})

    def load_backbone(self, path: str | Path) -> None:
        """Start the trunk from torchvision's Kinetics weights, a local file; heat maps keep their own first layer.

        Raises:
            ArtefactError: the file doesn't hold them.
        """
        load_kinetics(self.trunk, path)

    def prepare(self, inputs: Tensor, num_frames: Tensor) -> Tensor:
        """What the trunk reads: (B, C, T, H, W) in the type to compute in, the channels last in memory.

        Args:
            inputs: as for `heads`.
            num_frames: (B,) int64.
        """
        weight = self.trunk.features[0].get_parameter("0.0.weight")
        kind = weight.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        layout = torch.channels_last_3d
        if self.reads == "keypoints":
            if inputs.ndim != 4 or inputs.shape[2] != self.num_keypoints:
                raise ValueError(f"keypoints must be (B, T, {self.num_keypoints}, 3), got {tuple(inputs.shape)}")
            # Masked before they are drawn: a NaN in the padding would spoil the gradient of the first weights.
            maps = heatmaps(
                mask_time(inputs, num_frames), size_px=self.heatmap_size_px, sigma_px=self.sigma_px, dtype=dtype
            )
            return maps.transpose(1, 2).contiguous(memory_format=layout)
        if inputs.ndim != 5 or inputs.shape[2] != 3:
            raise ValueError(f"frames must be (B, T, 3, H, W) RGB, got {tuple(inputs.shape)}")
        frames = inputs.flip(2) if self.swap_colours else inputs
        pixels = frames.transpose(1, 2).to(dtype, copy=True, memory_format=layout)
        return pixels.mul_(self.scale.to(dtype)).add_(self.shift.to(dtype))


def _normaliser(normalisation: Normalisation) -> tuple[Tensor, Tensor, bool]:
    """Factor and summand of a pixel in 0 to 255, (1, 3, 1, 1, 1) float32 each, and whether blue comes first."""
    if normalisation not in ("kinetics", "half", "half_bgr"):
        raise ValueError(f"normalisation must be 'kinetics', 'half' or 'half_bgr', got {normalisation!r}")
    kinetics = normalisation == "kinetics"
    mean = torch.tensor(_MEAN if kinetics else (0.5, 0.5, 0.5))
    deviation = torch.tensor(_DEVIATION if kinetics else (0.5, 0.5, 0.5))
    shape = (1, 3, 1, 1, 1)
    scale, shift = (1 / (255 * deviation)).reshape(shape), (-mean / deviation).reshape(shape)
    return scale, shift, normalisation == "half_bgr"
