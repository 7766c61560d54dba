"""Common Voice scripted speech (Mozilla): read sentences, 130+ languages, recorded and voted on by volunteers.

Hours (release 25.0, March 2026, validated): Persian 372.9, Arabic 91.9, Urdu 79.7. Licence: CC0-1.0. Citation:
Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020. From the Mozilla Data Collective.

Quirks: no official metric or normaliser, so results compare only with the text rules stated. The splits are drawn anew
at each release and hold one recording per sentence: results of two releases don't compare, and train is a small part
of validated. `validated` holds train, dev and test too; `other` has not been voted on (good unlabelled audio).
Sentences hold bare quotes: the tables are read without quoting. Columns differ by release (sentence_id since 17,
variant since 13, accent became accents) and are found by the header. `reported.tsv` names sentences that somebody
complained about (grammar, spelling, language, offence); the official splits hold them. The first release of all
(2017, English: cv-valid-train.csv …) is read by `asr prepare folder RAW OUT table=cv-valid-train.csv`.

    asr prepare common-voice cv-corpus-22.0-2025-06-20/ur OUT
    asr prepare common-voice cv-corpus-22.0-2025-06-20 OUT --language fa splits=train,dev,test
    asr prepare common-voice cv-corpus-22.0-2025-06-20/ur OUT splits=validated reported=drop --split-by speaker
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from asr.corpora.tables import read_table
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

SPLITS = ("train", "dev", "test", "validated", "invalidated", "other")
_REQUIRED = ("path", "sentence")


Reported = Literal["keep", "drop"]


def prepare(raw: Path, *, language: str = "", splits: str = "", reported: str = "keep") -> Iterator[Row | Problem]:
    """Yield the clips of every split table that is there.

    Args:
        raw: the folder of one language (it holds `clips/`) or the release's folder above it.
        language: locale, needed where the release folder holds several.
        splits: comma list of tables to read; empty = all that are there.
        reported: drop leaves out the clips of sentences in reported.tsv; keep takes them, as the official splits do.

    Yields:
        Rows named after the clip file, with `person` = client_id, `group` = the sentence, and the duration that the
        release announces (milliseconds) where it has clip_durations.tsv; or problems.

    Raises:
        UserError: no such folder, language or split.
    """
    if reported not in get_args(Reported):
        raise UserError(f"reported={reported}: unknown; allowed are {', '.join(get_args(Reported))}")
    folder = _language_folder(raw, language)
    durations = _durations(folder / "clip_durations.tsv")
    found = [split for split in SPLITS if (folder / f"{split}.tsv").is_file()]
    wanted = [name.strip() for name in splits.split(",") if name.strip()] or found
    for split in wanted:
        if split not in found:
            raise UserError(f"{folder}: has no {split}.tsv; found {', '.join(found) or 'no split table'}")
    refused = _reported(folder / "reported.tsv") if reported == "drop" else set()
    for split in wanted:
        for row in _table(folder / f"{split}.tsv", split, folder.name, durations):
            if isinstance(row, Row) and {row.clip.group, row.clip.text} & refused:
                yield Problem(row.where, f"'{row.clip.id}' says a sentence that was reported", "reported")
            else:
                yield row


def _language_folder(raw: Path, language: str) -> Path:
    if (raw / "clips").is_dir():
        return raw
    found = sorted(path.parent.name for path in raw.glob("*/clips"))
    if not found:
        raise UserError(f"{raw}: holds no clips/ folder; give cv-corpus-VERSION/LANGUAGE as unpacked from the archive")
    if language in found or (not language and len(found) == 1):
        return raw / (language or found[0])
    raise UserError(f"{raw}: language '{language}' is not one of {', '.join(found)}; name one with --language")


def _durations(path: Path) -> dict[str, int]:
    """Announced clip lengths in milliseconds, empty before release 16.1."""
    if not path.is_file():
        return {}
    durations = {}
    for _line, fields in read_table(path):
        values = [value for key, value in fields.items() if key.startswith("duration")]
        if values and values[0].strip().isdigit():
            durations[fields.get("clip", "")] = int(values[0])
    return durations


def _reported(path: Path) -> set[str]:
    """Sentences, and ids of sentences, that were reported; the columns change places between releases."""
    if not path.is_file():
        return set()
    rows = [fields for _line, fields in read_table(path)]
    return {fields.get(name, "").strip() for fields in rows for name in ("sentence_id", "sentence")} - {""}


def _table(path: Path, split: str, language: str, durations: dict[str, int]) -> Iterator[Row | Problem]:
    for line, fields in read_table(path, required=_REQUIRED):
        where = f"{path}:{line}"
        name = fields["path"].strip()
        if not name:
            yield Problem(where, "the path is empty; download the release again", "missing")
            continue
        if not fields["sentence"].strip():
            yield Problem(where, f"'{name}' has no sentence; unlabelled clips go in by `folder`", "no_text")
            continue
        if "." not in name:  # the first releases name clips without the suffix
            name += ".mp3"
        milliseconds = durations.get(name)
        yield Row(
            Clip(
                id=name.rsplit(".", 1)[0],
                path=str(path.parent / "clips" / name),
                kind="audio",
                num_frames=milliseconds,
                rate_hz=1000.0 if milliseconds is not None else None,
                text=fields["sentence"].strip(),
                language=fields.get("locale") or language,
                person=fields.get("client_id", ""),
                group=fields.get("sentence_id") or fields["sentence"].strip(),
                split=split,
            ),
            where,
        )
