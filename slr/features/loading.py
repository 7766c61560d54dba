"""Making a frozen encoder from what lies on this machine: torchvision's and I3D's weights, or a transformers folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from signwave.errors import ConfigError
from slr.features.checkpoints import load_state
from slr.features.encoders import EncoderSpec, FrameEncoder
from slr.features.transformers_folder import load_transformers
from slr.models.i3d import EMBEDDING_DIM

I3D, I3D_KINETICS = "i3d", "i3d:kinetics"
"""One network, whose weights of BSL want pixels in [-0.5, 0.5], and those of Kinetics in [-1, 1]."""
RANDOM = "random"
"""Stands for a weights file where untrained weights are wanted: a baseline, and for tests."""
VIDEO_STRIDE = 4
_VIDEO_WINDOW_FRAMES, _I3D_PX = 16, 224


def load_encoder(
    name: str,
    *,
    weights: str | Path | None = None,
    window_frames: int | None = None,
    stride: int | None = None,
) -> FrameEncoder:
    """Make a frozen encoder.

    Args:
        name: "torchvision:MODEL" (resnet18, efficientnet_b0, vit_b_16, s3d, r3d_18 …); "transformers:FOLDER", a local
            folder with config.json and safetensors; "i3d" with weights of BSL's recognisers, or "i3d:kinetics".
        weights: for torchvision and i3d: a local file (.pth, .pth.tar, .pt or .safetensors), or "random".
        window_frames: frames a step looks at; video backbones only, 16 by default.
        stride: frames from one step to the next; by default 1 for pictures, 4 for video backbones.

    Raises:
        ConfigError: no such encoder, or no weights for it.
        ArtefactError: the weights don't fit.
    """
    source, _, rest = name.partition(":")
    is_i3d = name in (I3D, I3D_KINETICS)
    if not is_i3d and (source not in ("torchvision", "transformers") or not rest):
        raise ConfigError(
            f"encoder '{name}': give torchvision:MODEL, like torchvision:resnet18, transformers:FOLDER, {I3D} or "
            f"{I3D_KINETICS}"
        )
    if stride is not None and stride < 1:
        raise ConfigError(f"stride must be at least 1, got {stride}")
    if is_i3d:
        return _load_i3d(name, weights, window_frames, stride)
    if source == "torchvision":
        return _load_torchvision(rest, weights, window_frames, stride)
    if weights is not None:
        raise ConfigError(f"encoder '{name}' brings its own weights; leave --weights {weights} out")
    return _with_dim(load_transformers(Path(rest), window_frames, stride or VIDEO_STRIDE, stride or 1))


def _load_torchvision(
    name: str, weights: str | Path | None, window_frames: int | None, stride: int | None
) -> FrameEncoder:
    from torchvision import models

    weights = _needed(f"torchvision:{name}", weights)
    known = {False: models.list_models(module=models), True: models.list_models(module=models.video)}
    is_video = name in known[True]
    if name not in known[is_video]:
        some = ", ".join(["resnet18", "efficientnet_b0", "convnext_tiny", "vit_b_16", *sorted(known[True])])
        raise ConfigError(f"torchvision has no classifier '{name}'; it has {some} and others")
    if window_frames is not None and (not is_video or window_frames < 1):
        takes = "windows of at least 1 frame" if is_video else "single pictures; leave it out"
        raise ConfigError(f"window_frames={window_frames}: torchvision:{name} takes {takes}")
    preset = models.get_model_weights(name).DEFAULT.transforms()
    crop = preset.crop_size
    height_px, width_px = (crop[0], crop[-1]) if isinstance(crop, list | tuple) else (crop, crop)
    spec = EncoderSpec(
        "torchvision", name, int(height_px), int(width_px), tuple(preset.mean), tuple(preset.std), dim=0,
        window_frames=(window_frames or _VIDEO_WINDOW_FRAMES) if is_video else 1,
        stride=stride or (VIDEO_STRIDE if is_video else 1), is_video=is_video,
    )  # fmt: skip
    return _with_weights(spec, weights)


def _load_i3d(name: str, weights: str | Path | None, window_frames: int | None, stride: int | None) -> FrameEncoder:
    weights = _needed(name, weights)
    if window_frames is not None and window_frames < 1:
        raise ConfigError(f"window_frames={window_frames}: {name} takes windows of at least 1 frame")
    middle, spread = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0) if name == I3D else (0.5, 0.5, 0.5)
    spec = EncoderSpec(
        "i3d", name, _I3D_PX, _I3D_PX, middle, spread, dim=EMBEDDING_DIM,
        window_frames=window_frames or _VIDEO_WINDOW_FRAMES, stride=stride or VIDEO_STRIDE, is_video=True,
    )  # fmt: skip
    return _with_weights(spec, weights)


def _needed(name: str, weights: str | Path | None) -> str | Path:
    if weights is None:
        raise ConfigError(
            f"{name} needs --weights FILE, a .pth or .safetensors file on this machine, or --weights {RANDOM} for an "
            "untrained baseline; nothing is downloaded"
        )
    return weights


def _with_weights(spec: EncoderSpec, weights: str | Path) -> FrameEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = FrameEncoder(spec)
    if weights != RANDOM:
        load_state(encoder.backbone, Path(weights))
    return _with_dim(encoder)


def with_window(encoder: FrameEncoder, window_frames: int) -> FrameEncoder:
    """A backbone of videos for windows of another length.

    Raises:
        ConfigError: it can't look at such windows.
    """
    if window_frames == encoder.spec.window_frames:
        return encoder
    if encoder.spec.source == "transformers" or window_frames < 1:
        takes = encoder.spec.window_frames if encoder.spec.source == "transformers" else "at least 1"
        raise ConfigError(f"windows of {window_frames} frames: {encoder.spec.name} takes {takes}; give --window that")
    encoder.spec = dataclasses.replace(encoder.spec, window_frames=window_frames)
    return _with_dim(encoder)


def _with_dim(encoder: FrameEncoder) -> FrameEncoder:
    """Note the width of what comes out, by one try."""
    spec = encoder.spec
    frames = torch.zeros(1, spec.window_frames, 3, spec.height_px, spec.width_px, dtype=torch.uint8)
    try:
        features = encoder.encode(frames).detach()
    except (RuntimeError, ValueError) as error:
        detail = (str(error).splitlines() or [""])[0][:120]
        raise ConfigError(f"{spec.name} can't look at windows of {spec.window_frames} frames ({detail})") from error
    if features.ndim != 2:
        raise ConfigError(f"{spec.name} gives {tuple(features.shape)} instead of one vector a step; take another model")
    encoder.spec = dataclasses.replace(spec, dim=features.shape[1])
    encoder.dim = features.shape[1]
    return encoder
