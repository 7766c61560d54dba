"""Text as models see it: a normaliser and a vocabulary, both plain data that is hashed and stored with the model."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from signwave.errors import ArtefactError, LabelError

BLANK_TOKEN = "<blank>"
SPACE_TOKEN = "|"
"""How a vocabulary of characters or pieces writes the space between words."""
WORD_START = "\u2581"
"""How SentencePiece marks a piece that begins a word."""

Unit = Literal["word", "char", "piece"]

_INVISIBLE = re.compile("[\u200b\u200d-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_TATWEEL = "\u0640"
_ZWNJ = "\u200c"
# Isolated presentation forms of vowel marks: NFKC makes a space and a mark of each, which would tear the word.
_ISOLATED_MARKS = re.compile("[\ufc5e-\ufc63\ufe70\ufe72\ufe74\ufe76\ufe78\ufe7a\ufe7c\ufe7e]")
_HAMZA_AND_MADDA = "\u0653\u0654\u0655"
# Letters that never join the next one (Unicode joining types R and U): a non-joiner after them shows nothing.
_NOT_JOINING = frozenset("ءآأؤإاةدذرزوٱٲٳٴٵٶٷڈډڊڋڌڍڎڏڐڑڒړڔڕږڗژڙۀۃۄۅۆۇۈۉۊۋۍۏےۓەۮۯ")


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


def _drop_vowel_marks(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c) != "Mn" or c in _HAMZA_AND_MADDA)


def _drop_format_characters(text: str) -> str:
    return "".join(c for c in text if c == _ZWNJ or unicodedata.category(c) != "Cf")


def _tidy_zwnj(text: str) -> str:
    """Keep a non-joiner only where it shows: between a letter that would join and the next letter or digit."""
    parts = [part for part in re.split(f"({_ZWNJ}+)", text) if part]
    return "".join(
        part if part[0] != _ZWNJ else _ZWNJ * _shows(parts[i - 1][-1:] if i else "", "".join(parts[i + 1 : i + 2])[:1])
        for i, part in enumerate(parts)
    )


def _shows(before: str, after: str) -> bool:
    return before.isalpha() and before not in _NOT_JOINING and after.isalnum()


_MAP = "map"
# Every step has a fixed meaning for ever: a stored model relies on it. A change of meaning is a new name.
STEPS: dict[str, Callable[[str], str]] = {
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "lower": str.lower,
    "upper": str.upper,
    "strip_invisible": lambda text: _INVISIBLE.sub("", text),
    "strip_tatweel": lambda text: text.replace(_TATWEEL, ""),
    "strip_isolated_marks": lambda text: _ISOLATED_MARKS.sub("", text),
    "strip_format": _drop_format_characters,  # every invisible character but the non-joiner
    "strip_vowel_marks": _drop_vowel_marks,  # hamza and madda stay, so that the map can make letters of them
    "strip_marks": lambda text: "".join(c for c in text if unicodedata.category(c) != "Mn"),
    "strip_punctuation": _strip_punctuation,
    "zwnj_to_space": lambda text: text.replace(_ZWNJ, " "),
    "tidy_zwnj": _tidy_zwnj,
    "strip_zwnj": lambda text: text.replace(_ZWNJ, ""),
    "ascii_digits": lambda text: "".join(str(unicodedata.decimal(c, c)) for c in text),
    "collapse_spaces": lambda text: " ".join(text.split()),
}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Normaliser:
    """Named steps and a character map: the map comes first, or where the steps name it (`map`), then each step.

    >>> Normaliser("english", steps=("lower", "strip_punctuation", "collapse_spaces"))("Don't — PANIC!")
    "don't panic"
    """

    name: str
    steps: tuple[str, ...] = ()
    mapping: tuple[tuple[str, str], ...] = ()
    """Pairs (from, to), replaced from first to last: before the steps, or at the step `map`."""

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in STEPS and step != _MAP:
                raise ValueError(f"unknown normaliser step '{step}'; allowed are {', '.join((_MAP, *STEPS))}")

    def __call__(self, text: str) -> str:
        if _MAP not in self.steps:
            text = self._mapped(text)
        for step in self.steps:
            text = self._mapped(text) if step == _MAP else STEPS[step](text)
        return text

    def _mapped(self, text: str) -> str:
        for source, target in self.mapping:
            text = text.replace(source, target)
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
    unit "piece": `encode` takes pieces separated by spaces, `|` among them at word ends, as a tokenizer writes them;
    `decode` gives plain text.
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
        text = "".join(tokens).replace(SPACE_TOKEN, " ").strip()
        return text if self.unit == "char" else " ".join(text.replace(WORD_START, "").split())

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
            if unit not in get_args(Unit):
                raise ValueError(f"unit must be one of {', '.join(get_args(Unit))}, got {unit!r}")
            return cls(tuple(str(token) for token in values["tokens"]), unit)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"stored vocabulary can't be read ({error})") from error

    @property
    def digest(self) -> str:
        """SHA-256 of its content."""
        return _digest(self.to_dict())


def _split(text: str, unit: Unit) -> list[str]:
    words = text.split()
    return list(SPACE_TOKEN.join(words)) if unit == "char" else words
