"""Content words of a caption: all but those that stand in many captions of the language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from signwave.errors import ConfigError
from slr.captions.words import bare, join_words, plain, split_words

MAX_SHARE = 0.1
FEWEST_CAPTIONS = 50


def frequent_words(captions: Collection[str], *, max_share: float = MAX_SHARE) -> frozenset[str]:
    """Words (without case and punctuation) in more than a share of the captions: the, and, will.

    Args:
        captions: of one language, each text once.
        max_share: above which a word says little about what a caption is about.

    Raises:
        ConfigError: there are too few captions to tell.
    """
    if len(captions) < FEWEST_CAPTIONS:
        raise ConfigError(
            f"{len(captions)} different captions are too few to tell stop words by their frequency, which takes "
            f"{FEWEST_CAPTIONS}; learn them from a larger manifest or give a list of stop words"
        )
    counts = Counter(word for text in captions for word in {plain(word) for word in split_words(text)})
    return frozenset(word for word, count in counts.items() if count > max_share * len(captions))


def read_stop_words(path: Path) -> frozenset[str]:
    """A list with a word a line; lines that begin with # are comments.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read as a list of stop words ({error}); save it as UTF-8 text") from error
    return frozenset(plain(line) for line in lines if not line.startswith("#") and plain(line))


def keywords(caption: str, stop_words: Iterable[str]) -> str:
    """The words of a caption that aren't stop words, each once and in order; "" where none is left.

    >>> keywords("The small dog saw the other dog.", ["the", "other"])
    'small dog saw'
    """
    left = dict.fromkeys(stop_words, "") | {"": ""}
    found: list[str] = []
    for word in split_words(caption):
        if plain(word) not in left:
            left[plain(word)] = ""
            found.append(bare(word))
    return join_words(found, caption)
