"""Settings of the text side: what reads texts, and the tower that embeds them."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from signwave.errors import ConfigError
from signwave.text import BLANK_TOKEN, Normaliser, Vocabulary
from slr.retrieval.texts import Characters, Pieces, TextReader

UNKNOWN_TOKEN = "<unknown>"
CAPTION_NORMALISER = Normaliser(
    "caption",
    steps=("nfkc", "lower", "strip_invisible", "strip_tatweel", "strip_marks", "strip_punctuation", "collapse_spaces"),
)


@dataclass
class TextTowerConfig:
    """The text tower."""

    kind: str = "pieces"
    """pieces: a tokenizer trained on the captions and a tower from chance, in any languages. characters: likewise,
    letter by letter. transformer: an encoder of a local folder with its tokenizer, of CLIP or multilingual."""
    dir: str = ""
    """For transformer: local folder with config.json, safetensors and tokenizer.json."""
    num_pieces: int = 4000
    """For pieces: size of the tokenizer at most."""
    max_tokens: int = 32
    """Longer captions keep so many tokens, spread evenly (CiCo: 32)."""
    width: int = 256
    num_layers: int = 2
    num_heads: int = 4
    dropout: float = 0.1
    num_frozen_layers: int = 0
    """For transformer: the embeddings and so many first layers stay as they are; -1 freezes all, 0 nothing."""

    def __post_init__(self) -> None:
        if self.kind not in ("pieces", "characters", "transformer"):
            raise ConfigError(f"texts.kind={self.kind}: allowed are pieces, characters and transformer")
        if (self.kind == "transformer") != bool(self.dir):
            need = "needs texts.dir=FOLDER, a local folder" if self.kind == "transformer" else "takes no texts.dir"
            raise ConfigError(f"texts.kind={self.kind} {need}")
        if self.max_tokens < 3 or self.width % self.num_heads:
            raise ConfigError("texts: max_tokens must be at least 3, and width a multiple of num_heads")

    def reader(self, captions: Sequence[str]) -> TextReader:
        """What reads texts, made from the captions of training where it isn't given."""
        if self.kind == "transformer":
            return Pieces.load(self.dir, max_tokens=self.max_tokens)
        if self.kind == "pieces":
            return Pieces.train(
                captions, size=self.num_pieces, normaliser=CAPTION_NORMALISER, max_tokens=self.max_tokens
            )
        return Characters(CAPTION_NORMALISER, character_vocabulary(captions, CAPTION_NORMALISER))

    def settings(self, reader: TextReader) -> dict[str, Any]:
        """Plain settings of the tower, see slr.models.towers."""
        if self.kind == "transformer":
            from slr.models.text_tower import architecture_of

            frozen = self.num_frozen_layers
            return {"kind": "transformer", "architecture": architecture_of(self.dir), "num_frozen_layers": frozen}
        return {
            "kind": "embedded", "num_characters": reader.size, "dim": self.width, "num_layers": self.num_layers,
            "num_heads": self.num_heads, "dropout": self.dropout,
        }  # fmt: skip


def character_vocabulary(texts: Sequence[str], normaliser: Normaliser) -> Vocabulary:
    """Characters of normalised texts: 0 is padding, 1 a text without any of them."""
    characters = Vocabulary.build([normaliser(text) for text in texts], unit="char").tokens[1:]
    return Vocabulary((BLANK_TOKEN, UNKNOWN_TOKEN, *characters), unit="char")
