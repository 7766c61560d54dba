"""Text to CTC labels and back: a normaliser, a way to cut words, and the vocabulary, saved together and hashed.

`|` parts words, as in every vocabulary here; pieces never reach over it. A piece model cuts inside words, and with
joints inside morphs, so that no piece reaches over a joint either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from asr.tokenizers.joints import Joints, joints_from_dict
from asr.tokenizers.pieces import PieceModel
from signwave.errors import ArtefactError
from signwave.rundir import read_json, write_json
from signwave.text import SPACE_TOKEN, WORD_START, Normaliser, Vocabulary

Kind = Literal["characters", "paper-bpe", "bpe", "unigram", "morphology"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILE = "tokenizer.json"
FORMAT_VERSION = 1
STRENGTHS = {"unigram": 0.1, "bpe": 0.1}
"""Of random cuts: Kudo's exponent, and the chance that a merge is passed over."""


@dataclass(frozen=True)
class Tokenizer:
    """Cuts normalised text into the tokens of a vocabulary.

    Attributes:
        kind: "characters"; "paper-bpe": arXiv 2512.07277's BPE inside words, each marked at its start and closed by
            `|`; "bpe", "unigram": pieces inside words; "morphology": pieces inside morphs.
        normaliser: every text goes through it first.
        vocabulary: blank, `|`, pieces; of unit "char" for characters, else "piece".
        pieces: None for characters.
        joints: None where words are cut as wholes.
        info: facts for people: the texts it was trained on.
    """

    kind: Kind
    normaliser: Normaliser
    vocabulary: Vocabulary
    pieces: PieceModel | None = None
    joints: Joints | None = None
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of tokens, the blank included: V of a model's log_probs."""
        return self.vocabulary.size

    def tokens(self, text: str, rng: np.random.Generator | None = None) -> list[str]:
        """Return the tokens of a text, `|` between words.

        Args:
            text: any; it is normalised.
            rng: draws another cut at each call, for training; None = the same cut every time.
        """
        found: list[str] = []
        for word in self.normaliser(text).split():
            if found and self.kind != "paper-bpe":
                found.append(SPACE_TOKEN)
            found += self.cut(word, rng)
            if self.kind == "paper-bpe":
                found.append(SPACE_TOKEN)
        return found

    def cut(self, word: str, rng: np.random.Generator | None = None) -> list[str]:
        """Return the tokens of one normalised word."""
        if self.pieces is None:
            return list(word)
        marked = WORD_START + word if self.kind == "paper-bpe" else word
        return [piece for morph in self.morphs(marked) for piece in self._pieces(self.pieces, morph, rng)]

    def morphs(self, word: str) -> list[str]:
        """Return the parts of a normalised word over whose ends no piece reaches."""
        return [word] if self.joints is None else self.joints.morphs(word)

    @staticmethod
    def _pieces(model: PieceModel, morph: str, rng: np.random.Generator | None) -> list[str]:
        return model.cut(morph) if rng is None else model.draw(morph, rng, strength=STRENGTHS[model.method])

    def encode(self, text: str, rng: np.random.Generator | None = None) -> list[int]:
        """Return the ids of a text.

        Raises:
            LabelError: it holds a character that the vocabulary lacks; an unknown token would be a silent error.
        """
        tokens = self.tokens(text, rng)
        if self.vocabulary.unit == "char":
            return self.vocabulary.encode(self.normaliser(text))
        return self.vocabulary.encode(" ".join(tokens))

    def unknown(self, text: str) -> list[str]:
        """Return the tokens of a text that have no id."""
        ids = set(self.vocabulary.tokens[1:])
        return [token for token in self.tokens(text) if token not in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, blanks left out; `decode(encode(text))` is the normalised text."""
        return self.vocabulary.decode(ids)

    def words_and_tokens(self, text: str) -> Iterator[tuple[str, list[str]]]:
        """Yield each normalised word with its tokens."""
        for word in self.normaliser(text).split():
            yield word, self.cut(word)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without `info`."""
        return {
            "kind": self.kind,
            "normaliser": self.normaliser.to_dict(),
            "vocabulary": self.vocabulary.to_dict(),
            "pieces": self.pieces.to_dict() if self.pieces else None,
            "joints": self.joints.to_dict() if self.joints else None,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides how a text is cut."""
        return hashlib.sha256(json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/tokenizer.json and return its path; a bundle carries that file too."""
        path = Path(folder) / FILE
        content = {"format_version": FORMAT_VERSION, "digest": self.digest, "info": self.info, **self.to_dict()}
        write_json(path, content)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer from its folder, a bundle or run folder that carries one, or the file itself.

        Raises:
            ArtefactError: it is missing, damaged or of a newer version.
        """
        path = Path(path)
        places = [path / FILE, path / "bundle" / FILE] if path.is_dir() else [path]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise ArtefactError(f"{path}: no {FILE} there; make one with `asr tokenizer train`")
        content = read_json(file)
        try:
            if content["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {content['format_version']}, this toolkit reads {FORMAT_VERSION}")
            if content["kind"] not in KINDS:
                raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {content['kind']!r}")
            found = cls(
                kind=content["kind"],
                normaliser=Normaliser.from_dict(content["normaliser"]),
                vocabulary=Vocabulary.from_dict(content["vocabulary"]),
                pieces=PieceModel.from_dict(content["pieces"]) if content["pieces"] else None,
                joints=joints_from_dict(content["joints"]),
                info=dict(content["info"]),
            )
            if found.digest != content["digest"]:
                raise ValueError("its content isn't what its digest says")
        except (ArtefactError, KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{file}: not a tokenizer ({error}); train it again") from error
        return found
