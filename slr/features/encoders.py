"""Frozen image and video backbones behind one call: frames in, one vector per step out.

A backbone is a torchvision classifier without its last layer, the vision part of a local transformers folder (CLIP,
SigLIP, DINOv2, ViT, VideoMAE …), or I3D. Step i looks at a window of frames around frame i * stride: one frame for
pictures, `window_frames` for video backbones. So every backbone has a finite view, and padding never reaches it. Frames
are squeezed to the backbone's size as a whole: a centre crop would cut off the hands. Nothing is ever downloaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.errors import ArtefactError
from slr.models.i3d import InceptionI3d
from slr.models.masking import conv_steps

Source = Literal["torchvision", "transformers", "i3d"]
Pooling = Literal["pooler", "first", "mean"]

_FORMAT = 1  # goes into the digest: raise it whenever the same spec and weights give other features
HEADS = ("fc", "classifier", "heads", "head", "logits")
"""Names of the last layers of torchvision's classifiers, and of I3D."""


@dataclass(frozen=True)
class EncoderSpec:
    """All that an encoder is built from except its weights: plain values, kept in caches and bundles.

    Attributes:
        source: library of the backbone; that of I3D is this one.
        name: torchvision's name of the model, transformers' model type, or that of the encoder for I3D.
        height_px: of the pictures that the backbone sees.
        width_px: likewise.
        mean: of red, green and blue in [0, 1], subtracted.
        std: divided by.
        dim: D of the features.
        window_frames: frames that a step looks at.
        stride: frames from one step to the next.
        is_video: the backbone takes windows rather than pictures.
        pooling: what a transformer's tokens become: its own pooled output, the first token, or their mean.
        architecture: transformers' config.json, without what doesn't matter.
    """

    source: Source
    name: str
    height_px: int
    width_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dim: int
    window_frames: int = 1
    stride: int = 1
    is_video: bool = False
    pooling: Pooling = "mean"
    architecture: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) that frames are best decoded at."""
        return (self.height_px, self.width_px)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, equal to what JSON gives back."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderSpec:
        """Rebuild stored values.

        Raises:
            ArtefactError: unknown or missing keys.
        """
        try:
            return cls(**(values | {key: tuple(values[key]) for key in ("mean", "std")}))
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"stored encoder can't be read ({error}); use the version that wrote it") from None


class Features(NamedTuple):
    """What an encoder gives.

    features: (B, T', D) float32, zero past num_steps.
    num_steps: (B,) int64.
    """

    features: Tensor
    num_steps: Tensor


class FrameEncoder(nn.Module):
    """A frozen backbone: always in evaluation mode, without gradients.

    Args:
        spec: which one; the weights are random until a state is loaded.
        batch_windows: windows that go through the backbone at once.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, spec: EncoderSpec, *, batch_windows: int = 16) -> None:
        super().__init__()
        self.spec, self.stride, self.dim = spec, spec.stride, spec.dim
        self.batch_windows = batch_windows
        self.receptive_radius_frames = spec.window_frames // 2
        self.backbone = _backbone(spec)
        shape = (1, 3, 1, 1)
        self.register_buffer("_mean", 255 * torch.tensor(spec.mean).reshape(shape), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(spec.std).reshape(shape), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrameEncoder:
        """Stays in evaluation mode, whatever the module around it does."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, frames: Tensor, num_frames: Tensor) -> Features:
        """Features of a padded batch.

        Args:
            frames: (B, T, 3, H, W) uint8 RGB of any size; anything past num_frames.
            num_frames: (B,) int64, at least 1.
        """
        num_items, size = len(frames), -(-frames.shape[1] // self.stride)
        rows = torch.arange(num_items, device=frames.device)[:, None].expand(-1, size).flatten()
        centres = (torch.arange(size, device=frames.device) * self.stride).repeat(num_items)
        offsets = torch.arange(self.spec.window_frames, device=frames.device) - (self.spec.window_frames - 1) // 2
        # The first and last frame of the clip stand in for what lies outside it.
        last = (num_frames - 1)[rows, None]
        index = torch.minimum((centres[:, None] + offsets).clamp(min=0), last)
        num = self.batch_windows
        parts = [
            self.encode(frames[some[:, None], at])
            for some, at in zip(torch.split(rows, num), torch.split(index, num), strict=True)
        ]
        num_steps = conv_steps(num_frames, self.stride)
        features = torch.cat(parts).float().reshape(num_items, size, -1)
        valid = torch.arange(size, device=frames.device) < num_steps[:, None]
        return Features(torch.where(valid[..., None], features, 0.0), num_steps)

    def digest(self) -> str:
        """SHA-256 over the spec and every weight: equal digests give equal features."""
        return digest_of([_FORMAT, self.spec.to_dict()], self.backbone)

    def encode(self, windows: Tensor) -> Tensor:
        """(N, D) float, one vector a window. windows: (N, window_frames, 3, H, W) uint8 of any size."""
        pixels = windows.flatten(0, 1).float()
        if tuple(pixels.shape[2:]) != self.spec.size_px:
            pixels = functional.interpolate(pixels, self.spec.size_px, mode="bilinear", antialias=True)
        pixels = (pixels - self._mean) / self._std
        if not self.spec.is_video:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        else:
            pixels = pixels.reshape(len(windows), -1, *pixels.shape[1:])
        if self.spec.source == "transformers":
            return _pooled(self.backbone(pixel_values=pixels), self.spec.pooling)
        if self.spec.is_video:
            pixels = pixels.transpose(1, 2)
            if pixels.is_cuda:  # what half-precision kernels of GPUs want; a CPU may be slower so
                pixels = pixels.contiguous(memory_format=torch.channels_last_3d)
        found: Tensor = self.backbone(pixels)
        return found


def digest_of(facts: Any, module: nn.Module) -> str:
    """SHA-256 over plain facts and every weight of a module."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _backbone(spec: EncoderSpec) -> nn.Module:
    if spec.source == "i3d":
        return InceptionI3d()
    if spec.source == "torchvision":
        return _torchvision_backbone(spec.name)
    from transformers import AutoConfig, AutoModel

    model: Any = AutoModel.from_config(AutoConfig.for_model(**spec.architecture))
    if spec.pooling != "pooler" and getattr(model, "pooler", None) is not None:
        model.pooler = None  # not used, absent from many files, and then random: the digest would never be the same
    backbone: nn.Module = model
    return backbone


def _torchvision_backbone(name: str) -> nn.Module:
    from torchvision import models

    backbone: nn.Module = models.get_model(name, weights=None)
    for head in HEADS:
        if hasattr(backbone, head):
            setattr(backbone, head, nn.Identity())
    if isinstance(backbone, models.video.S3D):
        backbone.avgpool = nn.AdaptiveAvgPool3d(1)  # its own fits only windows of 16 frames of 224 x 224 pixels
    return backbone


def _pooled(output: Any, pooling: Pooling) -> Tensor:
    tokens: Tensor = output.last_hidden_state
    if pooling == "pooler":
        pooled: Tensor = output.pooler_output
        return pooled
    return tokens[:, 0] if pooling == "first" else tokens.mean(1)
