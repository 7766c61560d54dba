"""Text as models see it: a normaliser and a vocabulary, both plain data that is hashed and stored with the model."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from signwave.errors import ArtefactError, LabelError

BLANK_TOKEN = "<blank>"
SPACE_TOKEN = "|"
"""How a character vocabulary writes the space between words."""

Unit = Literal["word", "char"]

_INVISIBLE = re.compile("[\u200b\u200d-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_TATWEEL = "\u0640"
_ZWNJ = "\u200c"


def _drop_categories(text: str, categories: str, replacement: str) -> str:
    return "".join(replacement if unicodedata.category(c)[0] in categories else c for c in text)


def _strip_punctuation(text: str) -> str:
    # The apostrophe inside a word is a letter of that word; everything else of P and S parts words.
    return "".join(_keep_or_space(text, i) for i in range(len(text)))


def _keep_or_space(text: str, i: int) -> str:
    char = text[i]
    if unicodedata.category(char)[0] not in "PS":
        return char
    inside = 0 < i < len(text) - 1 and text[i - 1].isalpha() and text[i + 1].isalpha()
    return "'" if char in "'\u2019" and inside else " "


# Every step has a fixed meaning for ever: a stored model relies on it. A change of meaning is a new name.
STEPS: dict[str, Callable[[str], str]] = {
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "lower": str.lower,
    "upper": str.upper,
    "strip_invisible": lambda text: _INVISIBLE.sub("", text),
    "strip_tatweel": lambda text: text.replace(_TATWEEL, ""),
    "strip_marks": lambda text: "".join(c for c in text if unicodedata.category(c) != "Mn"),
    "strip_punctuation": _strip_punctuation,
    "zwnj_to_space": lambda text: text.replace(_ZWNJ, " "),
    "strip_zwnj": lambda text: text.replace(_ZWNJ, ""),
    "ascii_digits": lambda text: "".join(str(unicodedata.decimal(c, c)) for c in text),
    "collapse_spaces": lambda text: " ".join(text.split()),
}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Normaliser:
    """Named steps and a character map, applied in this order: map first, then each step.

    >>> Normaliser("english", steps=("lower", "strip_punctuation", "collapse_spaces"))("Don't — PANIC!")
    "don't panic"
    """

    name: str
    steps: tuple[str, ...] = ()
    mapping: tuple[tuple[str, str], ...] = ()
    """Pairs (from, to), replaced from first to last before the steps."""

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in STEPS:
                raise ValueError(f"unknown normaliser step '{step}'; allowed are {', '.join(STEPS)}")

    def __call__(self, text: str) -> str:
        for source, target in self.mapping:
            text = text.replace(source, target)
        for step in self.steps:
            text = STEPS[step](text)
        return text

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "steps": list(self.steps), "mapping": [list(pair) for pair in self.mapping]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Normaliser":
        """Rebuild a stored normaliser.

        Raises:
            ArtefactError: a step this version doesn't know.
        """
        try:
            mapping = tuple((str(a), str(b)) for a, b in values["mapping"])
            return cls(str(values["name"]), tuple(values["steps"]), mapping)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"stored normaliser can't be read ({error}); use the version that wrote it") from error

    @property
    def digest(self) -> str:
        """SHA-256 of its content; equal digests normalise equally."""
        return _digest(self.to_dict())


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id; id 0 is the CTC blank.

    unit "word": a text is tokens separated by spaces (glosses). unit "char": a text is characters, the space is `|`.
    """

    tokens: tuple[str, ...]
    unit: Unit = "word"

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[0] != BLANK_TOKEN:
            raise ValueError(f"the first token must be '{BLANK_TOKEN}', got {self.tokens[:1]!r}")
        if len(set(self.tokens)) != len(self.tokens):
            doubled = next(token for token in self.tokens if self.tokens.count(token) > 1)
            raise ValueError(f"tokens must be unique, '{doubled}' occurs more than once")
        object.__setattr__(self, "_ids", {token: i for i, token in enumerate(self.tokens)})

    @classmethod
    def build(cls, texts: Iterable[str], *, unit: Unit = "word") -> "Vocabulary":
        """The tokens of these texts in code-point order, after the blank."""
        found = {token for text in texts for token in _split(text, unit)}
        found.discard(BLANK_TOKEN)
        return cls((BLANK_TOKEN, *sorted(found)), unit)

    @property
    def size(self) -> int:
        """Number of tokens, the blank included: V of a model's log_probs."""
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of a text.

        Raises:
            LabelError: a token is not in the vocabulary, or the text holds the blank's name.
        """
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        labels = [ids.get(token, -1) for token in _split(text, self.unit)]
        if any(label <= 0 for label in labels):
            unknown = [t for t, label in zip(_split(text, self.unit), labels, strict=True) if label <= 0]
            names = ", ".join(f"'{token}'" for token in dict.fromkeys(unknown))
            raise LabelError(f"{names} not among the {self.size - 1} tokens of the vocabulary (text: '{text[:60]}')")
        return labels

    def unknown(self, text: str) -> list[str]:
        """The tokens of a text that have no id, in order."""
        ids: dict[str, int] = self._ids  # type: ignore[attr-defined]
        return [token for token in _split(text, self.unit) if ids.get(token, 0) <= 0]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, blanks left out."""
        tokens = [self.tokens[i] for i in ids if i != 0]
        if self.unit == "word":
            return " ".join(tokens)
        return "".join(tokens).replace(SPACE_TOKEN, " ").strip()

    def to_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "tokens": list(self.tokens)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Vocabulary":
        """Rebuild a stored vocabulary.

        Raises:
            ArtefactError: the content is not a vocabulary.
        """
        try:
            unit = values["unit"]
            if unit not in ("word", "char"):
                raise ValueError(f"unit must be 'word' or 'char', got {unit!r}")
            return cls(tuple(str(token) for token in values["tokens"]), unit)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"stored vocabulary can't be read ({error})") from error

    @property
    def digest(self) -> str:
        """SHA-256 of its content."""
        return _digest(self.to_dict())


def _split(text: str, unit: Unit) -> list[str]:
    words = text.split()
    return words if unit == "word" else list(SPACE_TOKEN.join(words))
