"""Letters of a language after its normaliser: what else a text holds is reported, not dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from asr.text.normalisers import primary

_MARKED = " \u200c'"
ALPHABETS = {
    "fa": "ءآئابتثجحخدذرزسشصضطظعغفقلمنهوپچژکگیؤۀ",
    "ar": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي",
    "ur": "ءآأؤئابتثجحخدذرزسشصضطظعغفقلمنوٹپچڈڑژکگںھہۂۃیےۓ",
    "en": "abcdefghijklmnopqrstuvwxyz",
}


def foreign_characters(texts: Iterable[str], language: str) -> Counter[str]:
    """Count the characters of normalised texts that are no letters of the language: digits, other scripts, symbols.

    Languages without an alphabet here give none.
    """
    letters = ALPHABETS.get(primary(language))
    if letters is None:
        return Counter()
    counts = Counter(char for text in texts for char in text)
    return Counter({char: count for char, count in counts.items() if char not in letters and char not in _MARKED})
