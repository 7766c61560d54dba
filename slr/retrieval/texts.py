"""How a text becomes token ids, and which of its tokens stand for what: characters, or pieces of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from signwave.errors import ArtefactError
from signwave.text import SPACE_TOKEN, Normaliser, Vocabulary
from slr.models.dual_encoder import UNKNOWN

TOKENIZER_NAME = "tokenizer.json"
_PAD, _UNKNOWN, _PIECE_SPACE = "<pad>", "<unk>", "▁"


class Part(NamedTuple):
    """A part of a query that is explained on its own.

    text: as it is shown.
    places: of its ids among those of `TextReader.encode`.
    """

    text: str
    places: tuple[int, ...]


class TextReader(Protocol):
    """Texts in, token ids out; id 0 is padding."""

    size: int
    """Number of ids."""

    def normal(self, text: str) -> str:
        """The text as the model sees it; "" where nothing is left of it."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, at least one."""

    def parts(self, text: str) -> list[Part]:
        """What the ids of `encode` stand for."""

    def unknown(self, text: str) -> list[str]:
        """What the model can't read in a text, each once."""


class Characters:
    """Characters of normalised texts; those that training didn't have are passed over.

    A single word is explained letter by letter, several are explained word by word.

    Args:
        normaliser: of captions and queries.
        vocabulary: characters; id 1 stands for a text without any of them.
    """

    def __init__(self, normaliser: Normaliser, vocabulary: Vocabulary) -> None:
        self.normal = normaliser
        self.normaliser, self.vocabulary = normaliser, vocabulary
        self.size = vocabulary.size

    def encode(self, text: str) -> list[int]:
        """Ids of the known characters; a text without any is one UNKNOWN."""
        return [self.vocabulary.encode(c)[0] for c in self._known(text)] or [UNKNOWN]

    def parts(self, text: str) -> list[Part]:
        """Letters of a word, or words of a sentence."""
        known = self._known(text)
        if not known:
            return [Part(self.normal(text), (0,))]
        if SPACE_TOKEN not in known:
            return [Part(character, (place,)) for place, character in enumerate(known)]
        return _words(known, SPACE_TOKEN)

    def unknown(self, text: str) -> list[str]:
        """Characters that training didn't have."""
        return [c for c in dict.fromkeys(self.vocabulary.unknown(self.normal(text))) if c != SPACE_TOKEN]

    def _known(self, text: str) -> list[str]:
        normal = self.normal(text)
        unknown = set(self.vocabulary.unknown(normal))
        return [character for character in SPACE_TOKEN.join(normal.split()) if character not in unknown]


class Pieces:
    """Pieces of words, by a tokenizer of the `tokenizers` library.

    Args:
        tokenizer: JSON text of the tokenizer; it brings its own normalisation and its special tokens.
        max_tokens: a longer text keeps so many tokens, spread evenly over it, first and last included, as CiCo does.
        normaliser: applied before it.
    """

    def __init__(self, tokenizer: str, *, max_tokens: int = 32, normaliser: Normaliser | None = None) -> None:
        from tokenizers import Tokenizer

        if max_tokens < 3:
            raise ValueError(f"texts.max_tokens must be at least 3, got {max_tokens}")
        try:
            self._tokenizer: Any = Tokenizer.from_str(tokenizer)
        except Exception as error:
            raise ArtefactError(f"{TOKENIZER_NAME} can't be read ({str(error).splitlines()[0]})") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.json = tokenizer
        self.max_tokens = max_tokens
        self.normaliser = normaliser or Normaliser("plain", steps=("nfkc", "strip_invisible", "collapse_spaces"))
        self.normal = self.normaliser
        self.size = int(self._tokenizer.get_vocab_size())

    @classmethod
    def load(cls, folder: str | Path, *, max_tokens: int = 32) -> Pieces:
        """The tokenizer of a local transformers folder.

        Raises:
            ArtefactError: the folder holds none.
        """
        path = Path(folder) / TOKENIZER_NAME
        if not path.is_file():
            raise ArtefactError(
                f"{folder}: holds no {TOKENIZER_NAME}; save the fast tokenizer of the model there "
                "(AutoTokenizer.from_pretrained(…).save_pretrained(FOLDER))"
            )
        return cls(path.read_text(encoding="utf-8"), max_tokens=max_tokens)

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int, normaliser: Normaliser, max_tokens: int = 32) -> Pieces:
        """A tokenizer of byte-pair pieces for these texts, of any languages; equal texts give an equal tokenizer.

        Args:
            texts: captions of training.
            size: number of ids at most.
            normaliser: of captions and queries.
            max_tokens: see the class.
        """
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        # Byte pairs, since the unigram trainer of this library gives other pieces in every process.
        tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_PIECE_SPACE)
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[_PAD, _UNKNOWN], show_progress=False)
        tokenizer.train_from_iterator((normaliser(text) for text in texts), trainer)
        return cls(tokenizer.to_str(), max_tokens=max_tokens, normaliser=normaliser)

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces, special tokens included."""
        return self._chosen(self._encoded(text).ids) or [UNKNOWN]

    def parts(self, text: str) -> list[Part]:
        """The words of the text, as it is written."""
        normal, found = self.normal(text), self._encoded(text)
        places: dict[int, list[int]] = {}
        # Which word a piece lies in, by where it lies in the text: any tokenizer tells that.
        starts = _word_numbers(normal)
        for place, index in enumerate(self._chosen(list(range(len(found.ids))))):
            begin, end = found.offsets[index]
            number = next((starts[at] for at in range(begin, end) if starts[at] is not None), None)
            if number is not None and not found.special_tokens_mask[index]:
                places.setdefault(number, []).append(place)
        words = normal.split()
        return [Part(words[number], tuple(at)) for number, at in places.items()] or [Part(normal, (0,))]

    def unknown(self, text: str) -> list[str]:
        """Words with a piece that the tokenizer doesn't know."""
        found = self._encoded(text)
        unknown = {self._tokenizer.token_to_id(name) for name in (_UNKNOWN, "[UNK]")} - {None}
        normal = self.normal(text)
        spans = [span for i, span in zip(found.ids, found.offsets, strict=True) if i in unknown]
        return list(dict.fromkeys(normal[begin:end].strip() for begin, end in spans if normal[begin:end].strip()))

    def _encoded(self, text: str) -> Any:
        return self._tokenizer.encode(self.normal(text))

    def _chosen(self, items: list[int]) -> list[int]:
        if len(items) <= self.max_tokens:
            return items
        last, limit = len(items) - 1, self.max_tokens - 1
        return [items[place * last // limit] for place in range(self.max_tokens)]


def _words(characters: Sequence[str], space: str) -> list[Part]:
    """Words of a sequence of characters, with the places of their letters."""
    found: list[Part] = []
    letters: list[int] = []
    for place, character in enumerate([*characters, space]):
        if character != space:
            letters.append(place)
        elif letters:
            found.append(Part("".join(characters[i] for i in letters), tuple(letters)))
            letters = []
    return found


def _word_numbers(text: str) -> list[int | None]:
    """For each character of a text the number of its word, None for a space."""
    found: list[int | None] = []
    number = -1
    inside = False
    for character in text:
        if character.isspace():
            inside = False
            found.append(None)
            continue
        number += not inside
        inside = True
        found.append(number)
    return found
