"""Several spellings that all count as right: a file of them, one group a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signwave.errors import UserError
from signwave.rundir import sha256_file
from signwave.text import Normaliser


@dataclass(frozen=True)
class SpellingVariants:
    """Runs of words → the words that stand for their group, on both sides of a comparison.

    >>> variants = SpellingVariants({("ok",): ("okay",), ("o", "k"): ("okay",)}, digest="")
    >>> variants("that is o k")
    'that is okay'
    """

    first_of: dict[tuple[str, ...], tuple[str, ...]]
    digest: str
    """SHA-256 of the file."""

    @classmethod
    def read(cls, path: Path, normaliser: Normaliser) -> SpellingVariants:
        """Read a file: spellings of one word or phrase a line, parted by tabs, the one to count as first.

        Lines that begin with # and empty ones are passed over. Every spelling goes through the normaliser, for that is
        what is compared.

        Raises:
            UserError: the file can't be read, a line has a single spelling, or a spelling is in two groups.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: can't be read as spellings ({error}); give UTF-8, a group a line") from error
        first_of: dict[tuple[str, ...], tuple[str, ...]] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            spellings = [tuple(normaliser(spelling).split()) for spelling in line.split("\t")]
            if len(spellings) < 2 or not all(spellings):
                raise UserError(f"{path}:{number}: '{line}': give at least two spellings, parted by tabs")
            for spelling in dict.fromkeys(spellings):
                if first_of.setdefault(spelling, spellings[0]) != spellings[0]:
                    raise UserError(f"{path}:{number}: '{' '.join(spelling)}' is in another group too; merge the lines")
        return cls({spelling: first for spelling, first in first_of.items() if spelling != first}, sha256_file(path))

    def __call__(self, text: str) -> str:
        """Write the first spelling of its group for each; the longest run of words that is a spelling goes first."""
        return " ".join(self._words(text.split()))

    def _words(self, words: list[str]) -> Iterator[str]:
        longest = max(map(len, self.first_of), default=1)
        start = 0
        while start < len(words):
            for size in range(min(longest, len(words) - start), 0, -1):
                run = tuple(words[start : start + size])
                if run in self.first_of or size == 1:
                    yield from self.first_of.get(run, run)
                    start += size
                    break
