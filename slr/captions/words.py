"""Words of a caption, also in scripts that are written without spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Thai, Lao, Burmese, Khmer, kana and Han: there a character is what comes closest to a word without a dictionary.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# A base character goes with the vowel signs and tone marks over, under and behind it.
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b6-\u17d3\u3099\u309a"
_HAS_SPACELESS = re.compile(f"[{_SPACELESS}]")
_CHARACTER = re.compile(f"[{_SPACELESS}][{_MARKS}]*|[^{_SPACELESS}]+")


def split_words(text: str) -> list[str]:
    """Parts between spaces; of a text without any in a script that has none, characters and foreign runs.

    >>> split_words("The dog sleeps."), split_words("今天下雨"), split_words("dog")
    (['The', 'dog', 'sleeps.'], ['今', '天', '下', '雨'], ['dog'])
    """
    words = text.split()
    if len(words) == 1 and _HAS_SPACELESS.search(text):
        return _CHARACTER.findall(words[0])
    return words


def join_words(words: Sequence[str], like: str) -> str:
    """Words written as a text like another one: with spaces or without."""
    spaced = len(like.split()) > 1 or not _HAS_SPACELESS.search(like)
    return (" " if spaced else "").join(words)


def words_end(text: str) -> int:
    """Where the punctuation at the end of a text begins. Vowel signs and tone marks belong to the letter before them.

    >>> words_end("one two."), words_end("हिन्दी।"), words_end("...")
    (7, 6, 0)
    """
    end = len(text)
    while end and not text[end - 1].isalnum():
        end -= 1
    while 0 < end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end


def bare(word: str) -> str:
    """A word without the punctuation around it.

    >>> bare("«dogs»,"), bare("می‌خورد."), bare("भाषा।"), bare("...")
    ('dogs', 'می‌خورد', 'भाषा', '')
    """
    start = next((place for place, character in enumerate(word) if character.isalnum()), len(word))
    return word[start : words_end(word)]


def plain(word: str) -> str:
    """A bare word without case, to compare words."""
    return bare(word).casefold()
