"""How2Sign: instructions translated into American Sign Language in a studio, with English sentences and no glosses.

What        over 80 hours, 11 signers, about 35,000 sentences.
From        how2sign.github.io.
Licence     CC BY-NC 4.0.
Cite        Duarte and others, "How2Sign: a large-scale multimodal dataset for continuous American Sign Language",
            CVPR 2021.
Metric      translation and retrieval measures. No gloss was ever released, so nothing can be recognised here: the text
            of a clip is empty and its sentence is the English caption.
Layout      how2sign_realigned_{train,val,test}.csv, which is parted by tabs (VIDEO_ID, VIDEO_NAME, SENTENCE_ID,
            SENTENCE_NAME, START_REALIGNED, END_REALIGNED, SENTENCE), and videos anywhere below: sentences that are cut
            already (SENTENCE_NAME.mp4) or the long videos (VIDEO_NAME.mp4), of which the spans are taken by time.

Traps. Names begin with "-" where YouTube's do. The times of the first release are off: without the realigned table,
how2sign_{train,val,test}.csv (START, END) is read with a warning in the log. Some sentences have no video.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published, Record, check_media, plain_name, read_records
from slr.datasets.videos import SUFFIXES

log = logging.getLogger(__name__)

RATE_HZ = 30.0
LANGUAGE, SPOKEN_LANGUAGE = "ase", "en"
SPLITS = ("train", "val", "test")
_KEYPOINTS = "openpose_output"
"""A folder of this name holds millions of files, none of which is read here."""

PUBLISHED: Mapping[str, Published] = {}
"""The realigned tables hold other numbers of rows than the paper, so there is nothing to compare with."""


class _Times(NamedTuple):
    table: Path
    start: str
    end: str


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the corpus: of each split for which there is a table."""
    folder = Path(raw).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{raw}: no such folder; give the folder that holds the tables and the videos")
    files = _find_files(folder)
    tables = {split: times for split in SPLITS if (times := _find_table(files, split))}
    if not tables:
        raise UserError(f"{raw}: holds no how2sign_realigned_train.csv, _val.csv or _test.csv; copy them there")
    for split, times in tables.items():
        columns = ("VIDEO_NAME", "SENTENCE_NAME", times.start, times.end, "SENTENCE")
        for record in read_records(times.table, columns=columns, separators="\t,|"):
            yield record if isinstance(record, Problem) else _row(record, split, times, files)


def check(clip: Clip) -> Clip:
    """Count the frames of the span, and read its first and last."""
    return check_media(clip, rate_hz=RATE_HZ)


def _find_files(folder: Path) -> dict[str, list[Path]]:
    """Tables by name, videos by name without suffix."""
    files: dict[str, list[Path]] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != _KEYPOINTS)
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in (".csv", *SUFFIXES):
                files.setdefault(name if suffix.lower() == ".csv" else stem, []).append(Path(parent, name))
    return files


def _find_table(files: Mapping[str, list[Path]], split: str) -> _Times | None:
    for name, start, end in (
        (f"how2sign_realigned_{split}.csv", "START_REALIGNED", "END_REALIGNED"),
        (f"how2sign_{split}.csv", "START", "END"),
    ):
        found = files.get(name, [])
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]} are both there; leave one of them")
        if found:
            if start == "START":
                log.warning("%s has the times of the first release, which are off; use the realigned table", found[0])
            return _Times(found[0], start, end)
    return None


def _row(record: Record, split: str, times: _Times, files: Mapping[str, list[Path]]) -> Row | Problem:
    values = record.values
    try:
        name = plain_name(values["SENTENCE_NAME"])
        start, end = (_seconds(values[column]) for column in (times.start, times.end))
        if end <= start:
            return Problem(record.where, f"'{name}' ends at {end} s and starts at {start} s; correct its times", "span")
        cut = _choose(files.get(name, []), split)
        path = cut or _choose(files.get(values["VIDEO_NAME"], []), split)
        if path is None:
            reason = f"no video {name} or {values['VIDEO_NAME']} in the folder; copy it there"
            return Problem(record.where, reason, "missing")
        signer = re.search(r"-(\d+)-rgb", values["VIDEO_NAME"])
        sentence = values["SENTENCE"]
        clip = Clip(
            id=name,
            path=str(path),
            kind="video",
            start_seconds=0.0 if cut else start,
            end_seconds=None if cut else end,
            language=LANGUAGE,
            person=signer.group(1) if signer else "",
            group=values["SENTENCE_ID"],
            captions={SPOKEN_LANGUAGE: sentence} if sentence else {},
            split=split,
        )
    except (ManifestError, ValueError) as error:
        return Problem(record.where, str(error), "invalid")
    return Row(clip, record.where)


def _choose(found: list[Path], split: str) -> Path | None:
    """Of several videos of one name, the one below a folder that is named after the split."""
    inside = [path for path in found if any(split in part for part in path.parts[-6:-1])]
    return next(iter(inside or found), None)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ManifestError(f"'{text}' is no time in seconds; correct the row") from None
    if not 0 <= seconds < float("inf"):
        raise ManifestError(f"{text} is no time of a video; correct the row")
    return seconds
