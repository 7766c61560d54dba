"""TwoStream-SLR (Chen et al., NeurIPS 2022): S3D over RGB and over heat maps, joined sideways, taught by their mean."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from signwave.batch import Encoded
from slr.models.interface import MAIN, Distillation, HeadLosses, Heads, Reads, StepFeatures
from slr.models.masking import mask_time
from slr.models.pyramid import pyramid_names
from slr.models.s3d import Normalisation, S3d
from slr.models.s3d_layers import Stage, lay_channels_last
from slr.models.slr_head import SlrHead, pool_space
from slr.models.weights import load_exactly

StreamName = Literal["rgb", "pose"]
_LATERAL_RADIUS_STEPS = 3


@dataclass
class TwoStreamConfig:
    """Settings of TwoStream; the defaults are the paper's, but for the start of the connections."""

    num_blocks: int = 4
    """Of each S3D; four give a step every 4 frames."""
    width: float = 1.0
    """Factor of every number of channels in the trunks; only 1 can take Kinetics weights."""
    freeze_rgb_blocks: int = 0
    """The first so many blocks stay as they are loaded; the paper freezes one of RGB and none of keypoints."""
    freeze_pose_blocks: int = 0
    num_keypoints: int = 63
    heatmap_height_px: int = 112
    """Half the height of the frames."""
    heatmap_width_px: int = 112
    sigma_px: float = 8.0
    """Width of a keypoint's spot; it goes with the size of the maps."""
    normalisation: Normalisation = "kinetics"
    """Of pixels; it goes with the weights."""
    lateral_init: Literal["zero", "kaiming"] = "zero"
    """Start of the connections. zero: the joint model begins as its two streams, each as it was trained alone, and can
    still answer with one of them. kaiming: as released by the authors."""
    with_pyramid: bool = True
    """CTC heads on the two blocks before the last one, in both streams."""
    rgb_pyramid_weight: float = 0.2
    pose_pyramid_weight: float = 0.5
    distillation_weight: float = 1.0
    """Of each of the three heads learning from their mean."""
    distillation_reduction: Literal["batch", "step"] = "batch"
    """batch: a clip's divergences are summed, as its CTC loss is. step: their mean over steps."""
    head_dim: int = 512
    feedforward_dim: int = 2048
    dropout: float = 0.1
    with_positions: bool = True
    """Tell the heads the number of each step, as the paper does. Without, the model can run over a stream in chunks."""
    norm_momentum: float = 0.01
    """Share of a batch in the trunks' running statistics, see S3dConfig."""
    checkpoint_layers: bool = False
    """Compute activations twice instead of keeping them: far less memory, a third more time. Not with torch.compile."""

    def build(self, *, vocab_size: int) -> "TwoStream":
        """The model for a vocabulary of `vocab_size` tokens, the blank included."""
        return TwoStream(vocab_size=vocab_size, **dataclasses.asdict(self))


class TwoStream(nn.Module):
    """Frames and keypoints in, log-probabilities out. See TwoStreamConfig for the arguments.

    The main output is the mean of the posteriors of three heads: rgb, pose, and fused over both. A batch without
    keypoints, or without frames, is answered by the head of the stream that it has: then `heads` names only that
    stream's heads, so such a batch can be recognised but not trained on.
    """

    reads: Reads = "frames+keypoints"

    def __init__(
        self,
        *,
        vocab_size: int,
        num_blocks: int = 4,
        width: float = 1.0,
        freeze_rgb_blocks: int = 0,
        freeze_pose_blocks: int = 0,
        num_keypoints: int = 63,
        heatmap_height_px: int = 112,
        heatmap_width_px: int = 112,
        sigma_px: float = 8.0,
        normalisation: Normalisation = "kinetics",
        lateral_init: Literal["zero", "kaiming"] = "zero",
        with_pyramid: bool = True,
        rgb_pyramid_weight: float = 0.2,
        pose_pyramid_weight: float = 0.5,
        distillation_weight: float = 1.0,
        distillation_reduction: Literal["batch", "step"] = "batch",
        head_dim: int = 512,
        feedforward_dim: int = 2048,
        dropout: float = 0.1,
        with_positions: bool = True,
        norm_momentum: float = 0.01,
        checkpoint_layers: bool = False,
    ) -> None:
        super().__init__()
        if lateral_init not in ("zero", "kaiming"):
            raise ValueError(f"lateral_init must be 'zero' or 'kaiming', got {lateral_init!r}")

        def stream(reads: Literal["frames", "keypoints"], freeze_blocks: int, pyramid_weight: float) -> S3d:
            return S3d(
                vocab_size=vocab_size,
                stream=reads,
                num_blocks=num_blocks,
                width=width,
                freeze_blocks=freeze_blocks,
                with_pyramid=with_pyramid,
                pyramid_weight=pyramid_weight,
                num_keypoints=num_keypoints,
                heatmap_height_px=heatmap_height_px,
                heatmap_width_px=heatmap_width_px,
                sigma_px=sigma_px,
                normalisation=normalisation,
                head_dim=head_dim,
                feedforward_dim=feedforward_dim,
                dropout=dropout,
                with_positions=with_positions,
                norm_momentum=norm_momentum,
                checkpoint_layers=checkpoint_layers,
            )

        self.rgb = stream("frames", freeze_rgb_blocks, rgb_pyramid_weight)
        self.pose = stream("keypoints", freeze_pose_blocks, pose_pyramid_weight)
        trunk = self.rgb.trunk
        self.laterals = nn.ModuleList(
            Lateral(channels, start=lateral_init) for channels in trunk.block_channels[: num_blocks - 1]
        )
        self.fused: nn.Module = SlrHead(
            2 * trunk.block_channels[-1],
            vocab_size,
            dim=head_dim,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            with_positions=with_positions,
        )
        self.distillation_weight = distillation_weight
        self.distillation_reduction: Literal["batch", "step"] = distillation_reduction
        self.stride = self.rgb.stride
        alone = self.rgb.receptive_radius_frames
        sideways = sum(_LATERAL_RADIUS_STEPS * stride for stride in trunk.block_strides[: num_blocks - 1])
        self.receptive_radius_frames = None if alone is None else alone + sideways

    def forward(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Encoded:
        """The main head of `heads`; the pyramids, which only train the trunks, are left out."""
        return self._answer(inputs, num_frames, points, all_heads=False).main

    def heads(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> Heads:
        """All heads: main, "rgb", "pose", "fused", and with pyramids "rgb_c2", "rgb_c3", "pose_c2", "pose_c3".

        Args:
            inputs: (B, T, 3, H, W) uint8 RGB, anything past num_frames; without any element where there are no frames.
            num_frames: (B,) int64, at least 1.
            points: (B, T, J, 3) float32 see slr.keypoints.layout, anything past num_frames; None where there are none.

        Raises:
            ValueError: neither is given, or the frames aren't twice as large as the heat maps.
        """
        return self._answer(inputs, num_frames, points, all_heads=True)

    def _answer(self, inputs: Tensor, num_frames: Tensor, points: Tensor | None, *, all_heads: bool) -> Heads:
        if points is None and not inputs.numel():
            raise ValueError("a batch has neither frames nor keypoints; a two-stream model needs at least one of them")
        if points is None:
            return _alone("rgb", self.rgb.answer(inputs, num_frames, all_heads=all_heads))
        if not inputs.numel():
            return _alone("pose", self.pose.answer(points, num_frames, all_heads=all_heads))
        rgb, pose = self._stages(inputs, num_frames, points)
        both = torch.cat([pool_space(pose[-1]), pool_space(rgb[-1])], dim=2)
        fused: Encoded = self.fused(both, rgb[-1].num_steps)
        first = _alone("rgb", self.rgb.classify(rgb[1:], all_heads=all_heads))
        second = _alone("pose", self.pose.classify(pose[1:], all_heads=all_heads))
        posteriors = torch.stack([first.main.log_probs, second.main.log_probs, fused.log_probs])
        mean = torch.logsumexp(posteriors, dim=0) - math.log(len(posteriors))
        return Heads(Encoded(mean, fused.num_steps), {**first.others, **second.others, "fused": fused})

    def _stages(self, inputs: Tensor, num_frames: Tensor, points: Tensor) -> tuple[list[Stage], list[Stage]]:
        """What goes into each block of both streams, and what comes out of the last."""
        self._check_size(inputs)
        rgb = [Stage(self.rgb.prepare(inputs, num_frames), num_frames)]
        pose = [Stage(self.pose.prepare(points, num_frames), num_frames)]
        for number in range(self.rgb.trunk.num_blocks):
            pair = self.rgb.trunk.block(number, rgb[-1]), self.pose.trunk.block(number, pose[-1])
            if number < len(self.laterals):
                pair = self.laterals[number](*pair)
            rgb.append(pair[0])
            pose.append(pair[1])
        return rgb, pose

    @property
    def feature_dims(self) -> dict[str, int]:
        """Channels of the last blocks, and of both together."""
        channels = self.rgb.trunk.block_channels[-1]
        return {"rgb": channels, "pose": channels, "fused": 2 * channels}

    def step_features(self, inputs: Tensor, num_frames: Tensor, *, points: Tensor | None = None) -> StepFeatures:
        """The last blocks' outputs, averaged over space; arguments as for `heads`, both streams must be there."""
        if points is None or not inputs.numel():
            raise ValueError("the features of two streams need frames and keypoints")
        stages = self._stages(inputs, num_frames, points)
        rgb, pose = (pool_space(stage[-1]) for stage in stages)
        streams = {"rgb": rgb, "pose": pose, "fused": torch.cat([pose, rgb], dim=2)}
        return StepFeatures(streams, stages[0][-1].num_steps)

    def drop_heads(self) -> None:
        """Remove the heads of both streams and the fused one."""
        self.rgb.drop_heads()
        self.pose.drop_heads()
        self.fused = nn.Identity()

    def losses(self) -> HeadLosses:
        """CTC on the three heads and the pyramids' (not on their mean), and the mean as the teacher of the three."""
        ctc = {"rgb": 1.0, "pose": 1.0, "fused": 1.0}
        for name, stream in (("rgb", self.rgb), ("pose", self.pose)):
            if stream.pyramid is not None:
                levels = pyramid_names(stream.trunk.num_blocks)
                ctc |= {f"{name}_{level}": stream.pyramid_weight for level in levels}
        return HeadLosses(
            ctc,
            tuple(
                Distillation(MAIN, student, self.distillation_weight, reduction=self.distillation_reduction)
                for student in ("rgb", "pose", "fused")
            ),
        )

    def load_backbone(self, path: str | Path) -> None:
        """Start both trunks from torchvision's Kinetics weights, see S3d.load_backbone."""
        for stream in (self.rgb, self.pose):
            stream.load_backbone(path)

    def load_stream(self, state: Mapping[str, Tensor], name: StreamName) -> None:
        """Start a stream from a single-stream model, as the second half of the paper's three stages does.

        Args:
            state: weights of an S3d with the same settings, e.g. `signwave.bundle.load(run).state_dict()`. Its pyramid
                may be missing: then this one keeps its random start.
            name: which stream.

        Raises:
            ArtefactError: names or shapes differ.
        """
        stream = {"rgb": self.rgb, "pose": self.pose}[name]
        load_exactly(
            stream,
            state,
            source=f"weights for the stream '{name}'",
            hint="train the single stream with the same vocabulary and settings",
            optional=[key for key in stream.state_dict() if key.startswith("pyramid.")],
        )

    def _check_size(self, frames: Tensor) -> None:
        height, width = (-(-size // 2) for size in frames.shape[-2:])
        if (height, width) != self.pose.heatmap_size_px:
            raise ValueError(
                f"frames of {frames.shape[-2]}x{frames.shape[-1]} px need heat maps of half their size, got "
                f"{'x'.join(map(str, self.pose.heatmap_size_px))}; set heatmap_height_px={height} and "
                f"heatmap_width_px={width}"
            )


class Lateral(nn.Module):
    """What each stream adds to the other after a block; RGB is twice as large in space.

    Args:
        channels: of both streams.
        start: "zero" or "kaiming", see TwoStreamConfig.
    """

    def __init__(self, channels: int, *, start: Literal["zero", "kaiming"]) -> None:
        super().__init__()
        size, stride, padding = (2 * _LATERAL_RADIUS_STEPS + 1, 3, 3), (1, 2, 2), (_LATERAL_RADIUS_STEPS, 1, 1)
        self.to_pose = nn.Conv3d(channels, channels, size, stride, padding, bias=False)
        self.to_rgb = nn.ConvTranspose3d(
            channels, channels, size, stride, padding, output_padding=(0, 1, 1), bias=False
        )
        for conv in (self.to_pose, self.to_rgb):
            if start == "zero":
                nn.init.zeros_(conv.weight)
            else:
                nn.init.kaiming_normal_(conv.weight)
        lay_channels_last(self)

    def forward(self, rgb: Stage, pose: Stage) -> tuple[Stage, Stage]:
        """Both stages with what the other one gives."""
        from_rgb = mask_time(rgb.values, rgb.num_steps, dim=2)
        from_pose = mask_time(pose.values, pose.num_steps, dim=2)
        height, width = rgb.values.shape[3:]
        return (
            Stage(rgb.values + self.to_rgb(from_pose)[..., :height, :width], rgb.num_steps),
            Stage(pose.values + self.to_pose(from_rgb), pose.num_steps),
        )


def _alone(name: StreamName, heads: Heads) -> Heads:
    """A stream's heads under the names that they have in the joint model."""
    return Heads(heads.main, {name: heads.main, **{f"{name}_{key}": head for key, head in heads.others.items()}})
