"""ARPA files, read and written without any other package."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from signwave.ctc.lm import Level
from signwave.errors import ArtefactError
from signwave.rundir import atomic_path

_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)$")
_SECTION = re.compile(r"\\(\d+)-grams:$")
_MAX_ORDER = 20


def read_arpa(path: str | Path) -> tuple[list[str], list[Level]]:
    """Read the words and n-grams of an ARPA file, gzipped or not.

    Raises:
        ArtefactError: names the file and line, what stands there and what should.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            return _Reader(path).read(file)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file; give an ARPA file (.arpa or .arpa.gz)") from error
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not an ARPA text ({error}); a binary model must be converted back") from error


def write_arpa(path: str | Path, words: Sequence[str], levels: Sequence[Level]) -> None:
    """Write an ARPA file, gzipped where the name ends in .gz; the file is whole or absent."""
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if str(path).endswith(".gz") else raw
        with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            file.writelines(_lines(words, levels))


def _lines(words: Sequence[str], levels: Sequence[Level]) -> Iterator[str]:
    yield "\\data\\\n"
    for number, level in enumerate(levels, start=1):
        yield f"ngram {number}={level.words.shape[0]}\n"
    for number, level in enumerate(levels, start=1):
        yield f"\n\\{number}-grams:\n"
        for ids, log10_prob, log10_backoff in zip(level.words, level.log10_prob, level.log10_backoff):
            tail = f"\t{log10_backoff:.9g}" if number < len(levels) else ""
            yield f"{log10_prob:.9g}\t{' '.join(words[word] for word in ids)}{tail}\n"
    yield "\n\\end\\\n"


def _open(path: Path) -> IO[str]:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if packed else open(path, encoding="utf-8")


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.counts: list[int] = []
        self.ids: dict[str, int] = {}
        self.rows: list[list[int]] = []
        self.probs: list[float] = []
        self.backoffs: list[float] = []

    def read(self, file: IO[str]) -> tuple[list[str], list[Level]]:
        lines = self._numbered(file)
        self._read_head(lines)
        levels = []
        for order in range(1, len(self.counts) + 1):
            following = self._read_section(lines, order)
            levels.append(self._level(order))
            wanted = f"\\{order + 1}-grams:" if order < len(self.counts) else "\\end\\"
            if following != wanted:
                raise self._error(f"'{following}' where '{wanted}' should stand; the file is cut or damaged")
        return list(self.ids), levels

    def _numbered(self, file: IO[str]) -> Iterator[str]:
        for number, line in enumerate(file, start=1):
            self.number = number
            stripped = line.strip(" \t\r\n")
            if stripped:
                yield stripped

    def _error(self, reason: str) -> ArtefactError:
        return ArtefactError(f"{self.path}:{self.number}: {reason}")

    def _read_head(self, lines: Iterator[str]) -> None:
        for line in lines:
            if line == "\\data\\":
                break
        else:
            raise self._error("no \\data\\ section; give an ARPA file, a binary model must be converted back")
        for line in lines:
            if match := _COUNT.match(line):
                if int(match[1]) != len(self.counts) + 1 or len(self.counts) == _MAX_ORDER:
                    raise self._error(f"'{line}' out of order; orders are counted from 1 to at most {_MAX_ORDER}")
                self.counts.append(int(match[2]))
            elif line == "\\1-grams:" and self.counts:
                return
            else:
                raise self._error(f"'{line}' where 'ngram N=COUNT' or '\\1-grams:' should stand")
        raise self._error("the file ends after its head; it is cut")

    def _read_section(self, lines: Iterator[str], order: int) -> str:
        self.rows, self.probs, self.backoffs = [], [], []
        for line in lines:
            if line[0] == "\\" and (_SECTION.match(line) or line == "\\end\\"):
                if len(self.rows) != self.counts[order - 1]:
                    raise self._error(
                        f"{len(self.rows)} {order}-grams, but the head announces {self.counts[order - 1]}"
                    )
                return line
            self._read_row(line.split(), order, line)
        raise self._error(f"the file ends inside the {order}-grams; it is cut")

    def _read_row(self, fields: list[str], order: int, line: str) -> None:
        if len(fields) not in (order + 1, order + 2):
            raise self._error(f"'{line}' is no {order}-gram: log10 probability, {order} word(s), log10 back-off if any")
        try:
            self.probs.append(float(fields[0]))
            self.backoffs.append(float(fields[order + 1]) if len(fields) == order + 2 else 0.0)
        except ValueError:
            raise self._error(f"'{line}' starts or ends with something that is no number") from None
        if order == 1:
            word = "<unk>" if fields[1] == "<UNK>" else fields[1]
            if word in self.ids:
                raise self._error(f"the word '{word}' is listed twice")
            self.rows.append([self.ids.setdefault(word, len(self.ids))])
            return
        try:
            self.rows.append([self.ids["<unk>" if word == "<UNK>" else word] for word in fields[1 : order + 1]])
        except KeyError as error:
            raise self._error(f"the word {error} of a {order}-gram is not among the 1-grams") from None

    def _level(self, order: int) -> Level:
        return Level(
            words=np.array(self.rows, dtype=np.int64).reshape(-1, order),
            log10_prob=np.array(self.probs),
            log10_backoff=np.array(self.backoffs),
        )
