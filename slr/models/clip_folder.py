"""A CLIP model in a local folder: the parts that the two towers start from. Nothing is ever downloaded."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from signwave.errors import ArtefactError

_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "layer_norm_eps",
    "attention_dropout", "vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


class ClipParts(NamedTuple):
    """What is taken from a CLIP model.

    vision: names as in CLIPVisionModel, without the stem.
    text: names as in CLIPTextModel.
    vision_projection: (D, width) float32, into the common space.
    text_projection: (D, width) float32.
    vision_settings: sizes, for CLIPVisionConfig.
    text_settings: sizes, for CLIPTextConfig.
    """

    vision: dict[str, Tensor]
    text: dict[str, Tensor]
    vision_projection: Tensor
    text_projection: Tensor
    vision_settings: dict[str, Any]
    text_settings: dict[str, Any]


@functools.lru_cache(maxsize=1)
def load_clip(folder: str | Path) -> ClipParts:
    """Read a local CLIP folder.

    Args:
        folder: with config.json of model type "clip", and safetensors, as `save_pretrained` writes it.

    Raises:
        ArtefactError: it holds no CLIP model, or weights are missing.
    """
    folder = Path(folder)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{folder}: no model folder ({error}); give a local folder with config.json and safetensors of a CLIP "
            "model, such as a copy of clip-vit-base-patch32"
        ) from error
    if kind != "clip":
        raise ArtefactError(f"{folder}: holds a model of type '{kind}', and a CLIP model is needed here")
    from transformers import CLIPModel

    try:
        model: Any = CLIPModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtefactError(f"{folder}: its weights can't be read ({str(error).splitlines()[0]})") from error
    stem = "embeddings."
    return ClipParts(
        vision={k: v for k, v in model.vision_model.state_dict().items() if not k.startswith(stem)},
        text=dict(model.text_model.state_dict()),
        vision_projection=model.visual_projection.weight.detach().clone(),
        text_projection=model.text_projection.weight.detach().clone(),
        vision_settings=_sizes(model.config.vision_config),
        text_settings=_sizes(model.config.text_config),
    )


def _sizes(config: Any) -> dict[str, Any]:
    return {name: value for name in _SIZES if (value := getattr(config, name, None)) is not None}
