"""The text tower of pretrained transformers: CLIP's text side, or any encoder of a local folder, in any language.

CiCo translates captions into English for CLIP; a multilingual encoder (XLM-R, LaBSE, multilingual E5 …) needs no
translation. The folder's tokenizer travels in the bundle as tokenizer.json, see slr.retrieval.texts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signwave.errors import ArtefactError
from slr.models.clip_folder import load_clip
from slr.models.dual_encoder import valid_mask

CLIP_KINDS = ("clip", "clip_text_model")
_NOT_ARCHITECTURE = ("transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype")


class TransformerTextTower(nn.Module):
    """Piece ids → contextual tokens.

    Args:
        architecture: transformers' config of an encoder, with "model_type".
        num_frozen_layers: the embeddings and so many of the first layers keep their weights; 0 trains everything (CiCo
            finds that best), -1 freezes the whole tower.
    """

    def __init__(self, architecture: dict[str, Any], *, num_frozen_layers: int = 0) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        settings = dict(architecture)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        self.model: nn.Module = AutoModel.from_config(config)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # type: ignore[assignment]  # never used: its weights would have no gradient
        self.out_dim = int(config.hidden_size)
        self.num_frozen_layers = num_frozen_layers
        self._freeze()

    def forward(self, ids: Tensor, num_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of a batch.

        Args:
            ids: (B, N) int64, anything past num_tokens.
            num_tokens: (B,) int64, at least 1.

        Returns:
            (B, N, out_dim) float32 with anything past num_tokens, and num_tokens.
        """
        mask = valid_mask(num_tokens, ids.shape[1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.num_frozen_layers >= 0):
            found = self.model(input_ids=ids * mask, attention_mask=mask.long())
        hidden: Tensor = found.last_hidden_state
        return hidden, num_tokens

    def train(self, mode: bool = True) -> TransformerTextTower:
        """A tower that is frozen whole stays in evaluation mode."""
        super().train(mode and self.num_frozen_layers >= 0)
        return self

    def load_folder(self, folder: str | Path) -> None:
        """Take the weights of a local folder.

        Raises:
            ArtefactError: they can't be read or don't fit.
        """
        self.model.load_state_dict(_weights(Path(folder), self.model), strict=True)

    def _freeze(self) -> None:
        if not self.num_frozen_layers:
            return
        if self.num_frozen_layers < 0:
            self.requires_grad_(False)
            return
        layers = next((m for m in self.model.modules() if isinstance(m, nn.ModuleList)), nn.ModuleList())
        if self.num_frozen_layers > len(layers):
            raise ValueError(
                f"texts.num_frozen_layers={self.num_frozen_layers}: the encoder has {len(layers)} layers; -1 freezes it"
            )
        frozen = [getattr(self.model, "embeddings", nn.Identity()), *layers[: self.num_frozen_layers]]
        for part in frozen:
            part.requires_grad_(False)


def architecture_of(folder: str | Path) -> dict[str, Any]:
    """Plain settings of the encoder in a local folder; of a CLIP model those of its text side.

    Raises:
        ArtefactError: the folder holds no readable config.json.
    """
    path = Path(folder) / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = settings["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(
            f"{folder}: no text encoder ({error}); give a local folder with config.json, safetensors and tokenizer.json"
        ) from error
    if kind == "clip":
        return {"model_type": "clip_text_model", **load_clip(folder).text_settings}
    if settings.get("is_encoder_decoder"):
        raise ArtefactError(f"{folder}: '{kind}' is an encoder with a decoder; save its encoder alone")
    return {name: value for name, value in settings.items() if name not in _NOT_ARCHITECTURE}


def text_projection(folder: str | Path, dim: int) -> Tensor | None:
    """CLIP's projection (D, width) into a common space of `dim`, None where the folder has none of that width."""
    if architecture_of(folder)["model_type"] not in CLIP_KINDS or not _is_clip(folder):
        return None
    weight = load_clip(folder).text_projection
    return weight if len(weight) == dim else None


def _is_clip(folder: str | Path) -> bool:
    return bool(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["model_type"] == "clip")


def _weights(folder: Path, model: nn.Module) -> dict[str, Tensor]:
    if _is_clip(folder):
        return load_clip(folder).text
    from transformers import AutoModel

    try:
        found: Any = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtefactError(f"{folder}: its weights can't be read ({str(error).splitlines()[0]})") from error
    wanted, state = model.state_dict(), found.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ArtefactError(f"{folder}: lacks {len(missing)} weights of its architecture, e.g. '{missing[0]}'")
    return {name: state[name] for name in wanted}
