"""Common Voice spontaneous speech (Mozilla): answers to questions, transcribed afterwards; 72 locales, 508 h (3.0).

Licence: CC0-1.0. From the Mozilla Data Collective. Metric: none official. Splits: train, dev, test, and `unassigned`
(recordings that have no checked transcript yet).

Layout: ss-corpus-LOCALE.tsv (audio_id, audio_file, duration_ms, prompt, transcription, …, split) beside audios/*.mp3.
Transcripts may hold marks such as [disfluency] and [noise], which are taken off.

    asr prepare common-voice-spontaneous sps-corpus-3.0/ps OUT splits=train,dev,test
"""

import re
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import read_table
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

UNASSIGNED = "unassigned"
_MARK = re.compile(r"\[[^\]]*\]")
_REQUIRED = ("audio_file", "transcription")


def prepare(raw: Path, *, splits: str = "", keep_marks: bool = False) -> Iterator[Row | Problem]:
    """Yield the answers.

    Args:
        raw: the folder of one language.
        splits: comma list; empty = all.
        keep_marks: leave [disfluency], [noise] and the like in the transcripts.

    Yields:
        Rows with `person` = client_id and `group` = the question; or problems: of the assigned splits also answers
        without a transcript.

    Raises:
        UserError: the folder doesn't hold one table, or the table lacks a column.
    """
    tables = sorted(path for path in raw.glob("ss-corpus-*.tsv") if "reported" not in path.name)
    if len(tables) != 1:
        raise UserError(f"{raw}: holds {len(tables)} tables ss-corpus-LOCALE.tsv; give the folder of one language")
    locale = tables[0].stem.removeprefix("ss-corpus-")
    wanted = {name.strip() for name in splits.split(",") if name.strip()}
    for line, fields in read_table(tables[0], required=_REQUIRED):
        split = fields.get("split", "").strip() or UNASSIGNED
        if not wanted or split in wanted:
            yield _row(fields, f"{tables[0]}:{line}", split, locale, keep_marks=keep_marks)


def _row(fields: dict[str, str], where: str, split: str, locale: str, *, keep_marks: bool) -> Row | Problem:
    name, text = fields["audio_file"].strip(), fields["transcription"]
    text = " ".join((text if keep_marks else _MARK.sub(" ", text)).split())
    if not name or (not text and split != UNASSIGNED):
        return Problem(where, f"'{name}' has no words in its transcript", "no_text")
    milliseconds = fields.get("duration_ms", "").strip()
    clip = Clip(
        id=Path(name).stem,
        path=str(Path(where).parent / "audios" / name),
        kind="audio",
        num_frames=int(milliseconds) if milliseconds.isdigit() else None,
        rate_hz=1000.0 if milliseconds.isdigit() else None,
        text=text,
        language=locale,
        person=fields.get("client_id", ""),
        group=fields.get("prompt_id") or fields.get("prompt", ""),
        split=split,
    )
    return Row(clip, where)
