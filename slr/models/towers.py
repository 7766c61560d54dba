"""Dual encoders from plain settings, as bundles hold them, and the settings of the one that reads hands."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from slr.models.dual_encoder import CharacterTower, DualEncoder, PoseTower
from slr.models.text_tower import TransformerTextTower
from slr.models.video_tower import WindowTower

SIGN_TOWERS = {"hands": PoseTower, "windows": WindowTower}
TEXT_TOWERS = {"embedded": CharacterTower, "transformer": TransformerTextTower}


def build_dual_encoder(settings: Mapping[str, Any]) -> DualEncoder:
    """The model of settings {"dim", "signs": {"kind", …}, "texts": {"kind", …}}, with random weights.

    Raises:
        KeyError, TypeError, ValueError: the settings are none of this version.
    """

    def build(towers: Mapping[str, Any], name: str) -> nn.Module:
        values = dict(settings[name])
        tower: nn.Module = towers[values.pop("kind")](**values)
        return tower

    return DualEncoder(build(SIGN_TOWERS, "signs"), build(TEXT_TOWERS, "texts"), dim=int(settings["dim"]))


@dataclass
class DualEncoderConfig:
    """Sizes of both towers."""

    dim: int = 128
    """Width of the common space."""
    sign_dim: int = 128
    text_dim: int = 128
    num_halvings: int = 2
    """Convolutions of stride 2: one token every 2 ** num_halvings frames."""
    num_sign_layers: int = 2
    num_text_layers: int = 2
    num_extra_tokens: int = 0
    """Learned tokens of a text beside its characters."""
    num_heads: int = 4
    dropout: float = 0.1
    max_tokens: int = 64
    """Most tokens of one clip."""

    def __post_init__(self) -> None:
        for name in ("dim", "sign_dim", "text_dim", "num_heads", "num_halvings"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_tokens < 2:
            raise ValueError(f"max_tokens must be at least 2, got {self.max_tokens}")
        if self.sign_dim % self.num_heads or self.text_dim % self.num_heads:
            raise ValueError(f"sign_dim {self.sign_dim} and text_dim {self.text_dim} must be multiples of num_heads")

    def settings(self, *, num_characters: int) -> dict[str, Any]:
        """Plain settings for texts of `num_characters` kinds of characters, padding and the unknown one included."""
        shared = {"num_heads": self.num_heads, "dropout": self.dropout}
        signs = {"dim": self.sign_dim, "num_halvings": self.num_halvings, "num_layers": self.num_sign_layers}
        texts = {"num_characters": num_characters, "dim": self.text_dim, "num_layers": self.num_text_layers}
        return {
            "dim": self.dim,
            "signs": {"kind": "hands", **signs, **shared, "max_tokens": self.max_tokens},
            "texts": {"kind": "embedded", **texts, **shared, "num_extra_tokens": self.num_extra_tokens},
        }

    def build(self, *, num_characters: int) -> DualEncoder:
        """The model; see `settings`."""
        return build_dual_encoder(self.settings(num_characters=num_characters))
