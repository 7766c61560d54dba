"""The vision part of a local transformers folder as a frozen encoder. Nothing is ever downloaded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from signwave.errors import ArtefactError, ConfigError
from slr.features.encoders import EncoderSpec, FrameEncoder, Pooling

_POOLING: dict[str, Pooling] = {
    "clip_vision_model": "pooler", "siglip_vision_model": "pooler", "siglip2_vision_model": "pooler",
    "dinov2": "pooler", "dinov2_with_registers": "pooler", "dinov3_vit": "pooler", "vit": "first", "deit": "first",
}  # fmt: skip
_NOT_ARCHITECTURE = ("transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype")


def load_transformers(folder: Path, window_frames: int | None, video_stride: int, picture_stride: int) -> FrameEncoder:
    """The vision part of a folder, whose spec doesn't know its width yet.

    Args:
        folder: with config.json and safetensors.
        window_frames: frames a step looks at; None, or what the model was made for.
        video_stride: frames from one step to the next, if it takes videos.
        picture_stride: likewise, if it takes pictures.

    Raises:
        ConfigError: no such folder, or other windows.
        ArtefactError: weights are missing.
    """
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
        stride=video_stride if window > 1 else picture_stride, is_video=window > 1, pooling=pooling,
        architecture=architecture | {"model_type": model_type},
    )  # fmt: skip
    encoder = FrameEncoder(spec)
    kept = encoder.backbone.state_dict()
    encoder.backbone.load_state_dict({name: value for name, value in model.state_dict().items() if name in kept})
    return encoder


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
