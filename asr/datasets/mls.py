"""Multilingual LibriSpeech (Meta, OpenSLR 94): audiobooks in 8 languages (en de nl fr es it pt pl), 50,000 h, 16 kHz.

Licence: CC BY 4.0. Citation: Pratap et al., "MLS: A Large-Scale Multilingual Dataset for Speech Research", Interspeech
2020. Metric: WER of the transcripts as they are (lower case). Official splits, disjoint in speakers and books;
train/limited_supervision names subsets of 10 h (`9hr`) and 1 h (`1hr/0` … `1hr/5`).

Layout: mls_LANGUAGE[_opus]/{train,dev,test}/{transcripts.txt,segments.txt,audio/SPEAKER/BOOK/ID.flac|opus}.

    asr prepare mls mls_polish_opus OUT
    asr prepare mls mls_polish_opus OUT splits=train limited=9hr
"""

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import chosen, read_lines
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

SPLITS = ("train", "dev", "test")
LANGUAGES = {
    "english": "en", "german": "de", "dutch": "nl", "french": "fr", "spanish": "es", "italian": "it",
    "portuguese": "pt", "polish": "pl",
}  # fmt: skip
_SUFFIXES = (".flac", ".opus")


def prepare(raw: Path, *, language: str = "", splits: str = "", limited: str = "") -> Iterator[Row | Problem]:
    """Yield the segments of every split that is there.

    Args:
        raw: mls_LANGUAGE or mls_LANGUAGE_opus.
        language: code; empty = from the folder's name.
        splits: comma list; empty = all that are there.
        limited: take only these of `train`: `9hr`, `1hr` or `1hr/0` … `1hr/5`.

    Yields:
        Rows with `person` = reader, `group` = book, and the length that segments.txt announces; or problems.

    Raises:
        UserError: no such split or subset.
    """
    code = language or LANGUAGES.get(raw.name.removeprefix("mls_").split("_")[0], "")
    found = [split for split in SPLITS if (raw / split / "transcripts.txt").is_file()]
    for split in chosen(splits, found, where=raw):
        handles = _handles(raw / "train" / "limited_supervision" / limited) if limited and split == "train" else None
        seconds = _announced(raw / split / "segments.txt")
        table = raw / split / "transcripts.txt"
        for line, text in read_lines(table):
            name, _, said = text.partition("\t")
            if handles is None or name in handles:
                yield _row(name, said.strip(), f"{table}:{line}", seconds.get(name), split=split, language=code)


def _handles(folder: Path) -> set[str]:
    """Ids of a subset; a folder of folders (`1hr`) is the union."""
    paths = sorted(folder.rglob("handles.txt"))
    if not paths:
        raise UserError(f"{folder}: holds no handles.txt; give limited=9hr, 1hr or 1hr/0 … 1hr/5")
    return {text.strip() for path in paths for _, text in read_lines(path)}


def _announced(path: Path) -> dict[str, float]:
    """Id → seconds, from lines of id, address, start, end."""
    if not path.is_file():
        return {}
    seconds = {}
    for _line, text in read_lines(path):
        values = text.split("\t")
        try:
            seconds[values[0]] = float(values[-1]) - float(values[-2])
        except (ValueError, IndexError):
            continue  # the length is measured anyway; this is only a second opinion
    return seconds


def _row(name: str, text: str, where: str, seconds: float | None, *, split: str, language: str) -> Row | Problem:
    parts = name.split("_")
    if len(parts) != 3 or not text:
        return Problem(where, f"expected SPEAKER_BOOK_SEGMENT, a tab and a transcript, got '{name}'", "invalid")
    stem = Path(where).parent / "audio" / parts[0] / parts[1] / name
    files = [stem.with_name(name + suffix) for suffix in _SUFFIXES]
    clip = Clip(
        id=name,
        path=str(next((path for path in files if path.is_file()), files[0])),
        kind="audio",
        num_frames=None if seconds is None else round(seconds * 1000),
        rate_hz=None if seconds is None else 1000.0,
        text=text,
        language=language,
        person=parts[0],
        group=f"book-{parts[1]}",
        split=split,
    )
    return Row(clip, where)
