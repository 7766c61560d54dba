"""MASC, Massive Arabic Speech Corpus: 1,000 h of 700 YouTube channels with their subtitles, 16 kHz, many dialects.

Licence: CC BY-NC 4.0. Citation: Al-Fetyani et al., "MASC: Massive Arabic Speech Corpus", SLT 2022 (IEEE DataPort). Test
10.5 h clean + 14.9 h noisy; metric WER. Official splits.

Layout: subsets/{clean,noisy}_{train,dev,test}[_meta].csv (video_id, category, video_duration, channel_id, country,
dialect, gender, transcript_duration), audios/ID.wav, subtitles/ID.ar.vtt. Segments are the subtitles, whose times were
made for readers: words may begin before them or go on after them. `joined_seconds` joins neighbours into longer clips,
which hurts less. A channel stands for the speaker, whom nobody has named; the video is the group.

    asr prepare masc masc OUT splits=clean_train,clean_dev,clean_test joined_seconds=15
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from asr.corpora.subtitles import Line, read_subtitles
from asr.corpora.tables import chosen, locate, read_table
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

SPLITS = tuple(f"{quality}_{split}" for quality in ("clean", "noisy") for split in ("train", "dev", "test"))
MAX_GAP_SECONDS = 0.5
"""Subtitles that lie further apart are never joined: somebody else, or music, is in between."""


def prepare(raw: Path, *, splits: str = "", joined_seconds: float = 0.0, dialect: str = "") -> Iterator[Row | Problem]:
    """Yield the subtitled segments of every video listed.

    Args:
        raw: the folder that holds subsets, audios and subtitles.
        splits: comma list of clean_train, noisy_dev and the like; empty = all that are there.
        joined_seconds: join neighbouring subtitles as long as they are no longer than this together; 0 = don't.
        dialect: take only videos of this dialect, as the tables call it (MSA, EGY …).

    Yields:
        Rows with `person` = channel and `group` = video; or problems: a video that isn't there costs one.

    Raises:
        UserError: no such split.
    """
    found = {split: path for split in SPLITS if (path := _table(raw, split)) is not None}
    for split in chosen(splits, list(found), where=raw / "subsets"):
        for line, fields in read_table(found[split], delimiter=",", quoted=True, required=("channel_id",)):
            if not dialect or fields.get("dialect", "") == dialect:
                yield from _video(raw, fields, split, f"{found[split]}:{line}", joined_seconds)


def _table(raw: Path, split: str) -> Path | None:
    names = (f"{split}_meta.csv", f"{split}.csv")
    return next((path for name in names if (path := raw / "subsets" / name).is_file()), None)


def _video(raw: Path, fields: dict[str, str], split: str, where: str, joined_seconds: float) -> Iterator[Row | Problem]:
    name = fields.get("video_id") or fields.get("id") or ""
    subtitles = locate(f"{name}.ar.vtt", raw / "subtitles", raw / "vtt", raw)
    audio = locate(f"{name}.wav", raw / "audios", raw / "wav", raw)
    missing = next((path for path in (audio, subtitles) if not path.is_file()), None)
    if not name or missing is not None:
        yield Problem(where, f"video '{name}': there is no {missing}", "missing")
        return
    try:
        lines = [line for line in read_subtitles(subtitles) if line.text and line.end_seconds > line.start_seconds]
    except UserError as error:
        yield Problem(where, str(error), "invalid")
        return
    for line in join_lines(lines, joined_seconds):
        clip = Clip(
            id=f"{name}-{round(line.start_seconds * 1000):08d}-{round(line.end_seconds * 1000):08d}",
            path=str(audio),
            kind="audio",
            start_seconds=line.start_seconds,
            end_seconds=line.end_seconds,
            text=line.text,
            language="ar",
            person=fields["channel_id"],
            group=name,
            split=split,
        )
        yield Row(clip, f"{subtitles}:{line.line}")


def join_lines(lines: Iterable[Line], max_seconds: float) -> Iterator[Line]:
    """Join neighbouring subtitles while they stay under `max_seconds` and no gap or overlap parts them."""
    current: Line | None = None
    for line in lines:
        if current is not None and (
            0 <= line.start_seconds - current.end_seconds <= MAX_GAP_SECONDS
            and line.end_seconds - current.start_seconds <= max_seconds
        ):
            current = current._replace(end_seconds=line.end_seconds, text=f"{current.text} {line.text}")
            continue
        if current is not None:
            yield current
        current = line
    if current is not None:
        yield current
