"""Transcripts for tokenizers, out of manifests and text files."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from asr.tokenizers.measures import WORDS_PER_SECOND, Utterance
from signwave import manifest
from signwave.errors import UserError

_HELD_OUT = 0.1


def read_utterances(paths: Sequence[Path], *, words_per_second: float = WORDS_PER_SECOND) -> list[Utterance]:
    """Read transcripts with their lengths; clips without a text are passed over.

    Args:
        paths: manifests (.jsonl, .jsonl.gz), or texts with a sentence a line (.txt, .txt.gz).
        words_per_second: gives the length where the file has none.

    Raises:
        UserError: a file can't be read, or there is no text in any.
    """
    found = [one for path in paths for one in _read(path, words_per_second) if one.text.strip()]
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no transcript in it; give manifests or texts that have some")
    return found


def _read(path: Path, words_per_second: float) -> list[Utterance]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        pairs = [(clip.text, clip.duration_seconds) for clip in manifest.read(path)]
    else:
        pairs = [
            (line.strip(), None) for line in text_lines(path, wanted="a manifest, or UTF-8 with a sentence a line")
        ]
    return [
        Utterance(text, len(text.split()) / words_per_second if seconds is None else seconds) for text, seconds in pairs
    ]


def split_off(found: Sequence[Utterance], *, seed: int = 0) -> tuple[list[Utterance], list[Utterance]]:
    """Part utterances into training and held-out ones, a tenth of the different texts; equal texts stay together."""
    texts = sorted({one.text for one in found})
    random.Random(seed).shuffle(texts)
    held_out = set(texts[: max(1, round(_HELD_OUT * len(texts)))])
    return [one for one in found if one.text not in held_out], [one for one in found if one.text in held_out]


def read_lexicon(path: Path) -> dict[str, int]:
    """Read a list of words: a word a line, columns after it by tabs; each counts once.

    Raises:
        UserError: the file can't be read.
    """
    lines = text_lines(path, wanted="UTF-8 with a word a line")
    return {word: 1 for line in lines if (word := line.split("\t")[0].strip())}


def text_lines(path: Path, *, wanted: str) -> Iterator[str]:
    """Yield the lines of a text file, gzipped where its name says so, without their ends.

    Raises:
        UserError: the file can't be read; says what is wanted.
    """
    try:
        with _open(path) as file:
            for line in file:
                yield line.rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read ({error}); give {wanted}") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return open(path, encoding="utf-8-sig")
