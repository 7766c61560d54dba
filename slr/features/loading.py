"""Making a frozen encoder from what lies on this machine: torchvision weights, or a transformers folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signwave.errors import ArtefactError, ConfigError
from slr.features.encoders import HEADS, EncoderSpec, FrameEncoder, Pooling

RANDOM = "random"
"""Stands for a weights file where untrained weights are wanted: a baseline, and for tests."""
_VIDEO_WINDOW_FRAMES, _VIDEO_STRIDE = 16, 4
_POOLING: dict[str, Pooling] = {
    "clip_vision_model": "pooler", "siglip_vision_model": "pooler", "siglip2_vision_model": "pooler",
    "dinov2": "pooler", "dinov2_with_registers": "pooler", "dinov3_vit": "pooler", "vit": "first", "deit": "first",
}  # fmt: skip
_NOT_ARCHITECTURE = ("transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype")


def load_encoder(
    name: str,
    *,
    weights: str | Path | None = None,
    window_frames: int | None = None,
    stride: int | None = None,
) -> FrameEncoder:
    """Make a frozen encoder.

    Args:
        name: "torchvision:MODEL" (resnet18, efficientnet_b0, vit_b_16, s3d, r3d_18 …) or "transformers:FOLDER", a local
            folder with config.json and safetensors.
        weights: for torchvision: a local file (.pth or .safetensors), or "random".
        window_frames: frames a step looks at; video backbones only, 16 by default.
        stride: frames from one step to the next; by default 1 for pictures, 4 for video backbones.

    Raises:
        ConfigError: no such encoder, or no weights for it.
        ArtefactError: the weights don't fit.
    """
    source, _, rest = name.partition(":")
    if source not in ("torchvision", "transformers") or not rest:
        raise ConfigError(
            f"encoder '{name}': give torchvision:MODEL, like torchvision:resnet18, or transformers:FOLDER"
        )
    if stride is not None and stride < 1:
        raise ConfigError(f"stride must be at least 1, got {stride}")
    if source == "torchvision":
        return _load_torchvision(rest, weights, window_frames, stride)
    if weights is not None:
        raise ConfigError(f"encoder '{name}' brings its own weights; leave --weights {weights} out")
    return _load_transformers(Path(rest), window_frames, stride)


def _load_torchvision(
    name: str, weights: str | Path | None, window_frames: int | None, stride: int | None
) -> FrameEncoder:
    from torchvision import models

    if weights is None:
        raise ConfigError(
            f"torchvision:{name} needs --weights FILE, a .pth or .safetensors file on this machine, or --weights "
            f"{RANDOM} for an untrained baseline; nothing is downloaded"
        )
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
        stride=stride or (_VIDEO_STRIDE if is_video else 1), is_video=is_video,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = FrameEncoder(spec)
    if weights != RANDOM:
        _load_state(encoder.backbone, Path(weights))
    return _with_dim(encoder)


def _load_state(backbone: nn.Module, path: Path) -> None:
    """Put a file's weights into the backbone, without those of the classifier that was taken off."""
    state = {name.removeprefix("module."): value for name, value in _read_state(path).items()}
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    foreign = [name for name in state if name not in wanted and name.split(".", maxsplit=1)[0] not in HEADS]
    shapes = [name for name, value in wanted.items() if name in state and state[name].shape != value.shape]
    if missing or foreign or shapes:
        raise ArtefactError(
            f"{path}: doesn't fit the model: {len(missing)} weights missing, {len(foreign)} unknown, {len(shapes)} of "
            f"another shape, e.g. '{(missing + foreign + shapes)[0]}'; give the weights of this very model"
        )
    backbone.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such weights file; give a .pth or .safetensors file on this machine")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ArtefactError(f"{path}: can't be read ({error}); fetch it again") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes torch's reader raise
        detail = str(error).splitlines()[0][:120]
        raise ArtefactError(f"{path}: holds no plain weights ({detail}); give a state dict or safetensors") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ArtefactError(f"{path}: holds no state dict; save `model.state_dict()`")
    return content


def _load_transformers(folder: Path, window_frames: int | None, stride: int | None) -> FrameEncoder:
    from transformers import AutoConfig, AutoModel

    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no config.json there; give a local transformers folder, nothing is downloaded")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        config = getattr(config, "vision_config", config)
        with _quiet_transformers():
            model, info = AutoModel.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ArtefactError(f"{folder}: can't be loaded ({str(error).splitlines()[0][:200]})") from error
    model_type = str(config.model_type)
    pooling = _POOLING.get(model_type, "mean")
    # Where the pooled output isn't used, its weights may be absent; anything else absent would be random.
    missing = [name for name in info["missing_keys"] if pooling == "pooler" or not name.startswith("pooler.")]
    if missing:
        raise ArtefactError(f"{folder}: lacks {len(missing)} weights of '{model_type}', e.g. '{sorted(missing)[0]}'")
    window = int(getattr(config, "num_frames", 1))
    if window_frames not in (None, window):
        raise ConfigError(f"window_frames={window_frames}: {folder} takes {window}; leave it out")
    height_px, width_px, mean, std = _preprocessing(folder, config)
    architecture = {key: value for key, value in config.to_dict().items() if key not in _NOT_ARCHITECTURE}
    spec = EncoderSpec(
        "transformers", model_type, height_px, width_px, mean, std, dim=0, window_frames=window,
        stride=stride or (_VIDEO_STRIDE if window > 1 else 1), is_video=window > 1, pooling=pooling,
        architecture=architecture | {"model_type": model_type},
    )  # fmt: skip
    encoder = FrameEncoder(spec)
    kept = encoder.backbone.state_dict()
    encoder.backbone.load_state_dict({name: value for name, value in model.state_dict().items() if name in kept})
    return _with_dim(encoder)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without its bar and its table of weights: what matters of it is checked here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


_Triple = tuple[float, float, float]


def _preprocessing(folder: Path, config: Any) -> tuple[int, int, _Triple, _Triple]:
    """Height, width, mean and std that a transformers folder asks for."""
    path = folder / "preprocessor_config.json"
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    size = values.get("crop_size") if values.get("do_center_crop") else values.get("size")
    size = size or getattr(config, "image_size", 224)
    if isinstance(size, dict):
        size = (size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge")))
    height_px, width_px = (size[0], size[1]) if isinstance(size, list | tuple) else (size, size)
    mean, std = (tuple(float(x) for x in values.get(key, (0.5, 0.5, 0.5))) for key in ("image_mean", "image_std"))
    if not height_px or not width_px or len(mean) != 3 or len(std) != 3:
        raise ArtefactError(f"{path}: no picture size or no mean and std of three colours; correct it")
    return int(height_px), int(width_px), (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _with_dim(encoder: FrameEncoder) -> FrameEncoder:
    """Note the width of what comes out, by one try."""
    spec = encoder.spec
    frames = torch.zeros(1, spec.window_frames, 3, spec.height_px, spec.width_px, dtype=torch.uint8)
    features = encoder.encode(frames).detach()
    if features.ndim != 2:
        raise ConfigError(f"{spec.name} gives {tuple(features.shape)} instead of one vector a step; take another model")
    encoder.spec = dataclasses.replace(spec, dim=features.shape[1])
    encoder.dim = features.shape[1]
    return encoder
