"""LibriSpeech (and its like: mini-librispeech, LibriTTS has another layout): English audiobooks, 960 h, 16 kHz flac.

Licence: CC BY 4.0. Citation: Panayotov et al., "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP
2015. Metric: WER of the transcripts as they are (upper case, no punctuation). Official splits, disjoint in speakers.

Layout: SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac beside SPEAKER-CHAPTER.trans.txt (id, space, text).

    asr prepare librispeech LibriSpeech OUT splits=train-clean-100,dev-clean,test-clean
"""

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import chosen, read_lines
from signwave.manifest import Clip
from signwave.prepare import Problem, Row


def prepare(raw: Path, *, splits: str = "", lower: bool = False) -> Iterator[Row | Problem]:
    """Yield the utterances of every split that is there.

    Args:
        raw: the folder `LibriSpeech`, or the one above it.
        splits: comma list of folders; empty = all that are there.
        lower: write the transcripts in lower case.

    Yields:
        Rows with `person` = reader and `group` = reader and chapter (one recording session); or problems.

    Raises:
        UserError: there is no such split, or none at all.
    """
    root = raw / "LibriSpeech" if (raw / "LibriSpeech").is_dir() else raw
    found = sorted({path.parents[2].name for path in root.glob("*/*/*/*.trans.txt")})
    for split in chosen(splits, found, where=root):
        for table in sorted((root / split).glob("*/*/*.trans.txt")):
            for line, text in read_lines(table):
                yield _row(text, f"{table}:{line}", table.parent, split, lower=lower)


def _row(line: str, where: str, folder: Path, split: str, *, lower: bool) -> Row | Problem:
    name, _, text = line.partition(" ")
    if not text.strip():
        return Problem(where, f"'{name}' has no transcript; download the split again", "no_text")
    clip = Clip(
        id=name,
        path=str(folder / f"{name}.flac"),
        kind="audio",
        text=text.strip().lower() if lower else text.strip(),
        language="en",
        person=folder.parent.name,
        group=f"{folder.parent.name}-{folder.name}",
        split=split,
    )
    return Row(clip, where)
