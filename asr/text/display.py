"""How recognised text is shown: the spelling that people write for what a normaliser has unified, and back.

A model writes normalised text: ASCII digits, no vowel marks, perhaps no non-joiners and one kind of alef. A display
form learns from written texts how each word, or run of words, is written most often, and shows it so. Showing can
always be taken back: the normaliser makes of the shown text the very text that was recognised.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from signwave.errors import ArtefactError
from signwave.rundir import read_json, write_json
from signwave.text import Normaliser

_ZERO = {"fa": "\u06f0", "ar": "\u0660", "ur": "\u06f0"}
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class DisplayForm:
    """Normalised words → their written form.

    >>> from asr.text import for_language
    >>> shown = DisplayForm.learn(["در سالِ ۱۳۵۷", "سالِ نو"], for_language("fa"), language="fa")
    >>> shown.show("سال 1402"), shown.plain("سالِ ۱۴۰۲")
    ('سالِ ۱۴۰۲', 'سال 1402')
    """

    normaliser: Normaliser
    language: str
    forms: dict[str, str]
    """Normalised word, or words with single spaces, → written form, which the normaliser turns into the key."""

    @classmethod
    def learn(
        cls, texts: Iterable[str], normaliser: Normaliser, *, language: str = "", min_share: float = 0.5
    ) -> DisplayForm:
        """Learn from written texts.

        Args:
            texts: as people write them.
            normaliser: of the model.
            language: whose digits are shown; empty leaves them.
            min_share: a form is shown if more than this share of the occurrences are written so.
        """
        seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        plain = []
        for text in texts:
            plain.append(normaliser(text).split())
            for word in map(_word, text.split()):
                seen[normaliser(word)][word] += 1
        totals = _occurrences(plain, seen)
        forms = {}
        for key, counter in seen.items():
            written, count = min(counter.items(), key=lambda item: (-item[1], item[0]))
            if key and written != key and count > min_share * totals[key]:
                forms[key] = written
        return cls(normaliser, language, forms)

    def show(self, text: str) -> str:
        """Return a normalised text as people write it; `plain` gives the text back."""
        shown = " ".join(self._written(text.split()))
        zero = _ZERO.get(self.language)
        if zero is not None:
            shown = shown.translate({ord(str(digit)): chr(ord(zero) + digit) for digit in range(10)})
        return shown if self.normaliser(shown) == self.normaliser(text) else text

    def plain(self, shown: str) -> str:
        """Return the normalised text of a shown one."""
        return self.normaliser(shown)

    def _written(self, words: list[str]) -> Iterator[str]:
        """The longest known run of words first."""
        longest = max((key.count(" ") + 1 for key in self.forms), default=1)
        start = 0
        while start < len(words):
            for size in range(min(longest, len(words) - start), 0, -1):
                key = " ".join(words[start : start + size])
                if key in self.forms or size == 1:
                    yield self.forms.get(key, key)
                    start += size
                    break

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_json(path, {
            "format_version": _FORMAT_VERSION, "language": self.language,
            "normaliser": self.normaliser.to_dict(), "forms": dict(sorted(self.forms.items())),
        })  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> DisplayForm:
        """Read what `save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, or a form isn't one of its key.
        """
        content = read_json(path)
        try:
            if content["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"format version {content['format_version']}, this toolkit reads {_FORMAT_VERSION}")
            normaliser = Normaliser.from_dict(content["normaliser"])
            forms = {str(key): str(form) for key, form in content["forms"].items()}
            bad = next((key for key, form in forms.items() if normaliser(form) != key), None)
            if bad is not None:
                raise ValueError(f"'{forms[bad]}' is no way to write '{bad}'")
            return cls(normaliser, str(content["language"]), forms)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: not a display form ({error}); learn it again") from error


def _word(written: str) -> str:
    """A word without the punctuation around it; empty where there is some inside, which nobody says."""
    is_punctuation = [unicodedata.category(char)[0] in "PS" for char in written]
    inside = written.strip("".join(char for char, is_one in zip(written, is_punctuation, strict=True) if is_one))
    return "" if any(unicodedata.category(char)[0] in "PS" for char in inside) else inside


def _occurrences(texts: list[list[str]], keys: Iterable[str]) -> Counter[str]:
    """How often each key, a word or words with spaces, is in the texts."""
    wanted = set(keys)
    sizes = {key.count(" ") + 1 for key in wanted}
    found = Counter[str]()
    for words in texts:
        for size in sizes:
            runs = (" ".join(words[start : start + size]) for start in range(len(words) - size + 1))
            found.update(run for run in runs if run in wanted)
    return found
