"""ASL Citizen: 2,731 isolated signs of American Sign Language, filmed at home by Deaf and hard-of-hearing people.

What        83,399 clips of 52 people: 35 in train, 6 in val and 11 in test, so other people are tested. Every sign
            occurs in every split.
From        Microsoft Research, "ASL Citizen", one archive of 43 GiB; the reference code is microsoft/ASL-citizen-code.
Licence     Microsoft Research licence for the data: research use only; read use.txt in the archive.
Cite        Desai, Berger, Minakov and others, "ASL Citizen: a community-sourced dataset for advancing isolated sign
            language recognition", NeurIPS 2023 (data sets and benchmarks); the counts below are those of its tables.
Metric      top-1, top-5 and rank measures over other people: `slr islr --model RUN test.jsonl.gz`.
Layout      splits/{train,val,test}.csv (Participant ID,Video file,Gloss,ASL-LEX Code) and videos/NAME.mp4.

Traps. Variants of one English word are numbered glosses (REMEMBER, REMEMBER2): they are other signs, so the number
stays. The name of a file is not its label: some say "seedGLOSS", the recording that people were shown, and some another
variant than the table. Several glosses have the same ASL-LEX code (2,723 codes). Some glosses end in a blank. P46 often
signs twice in a clip. Clips are from webcams: sizes, light and frame rates differ, and rates may vary within one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published, Record, check_media, find_base, labelled, plain_name, read_records
from slr.datasets.isolated_clips import find_videos, one_gloss, video_named

RATE_HZ = 30.0
LANGUAGE = "ase"
SPLITS = ("train", "val", "test")

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=40_154, glosses=40_154, vocabulary=2731),
    "val": Published(clips=10_304, glosses=10_304, vocabulary=2731),
    "test": Published(clips=32_941, glosses=32_941, vocabulary=2731),
}


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of each split for which there is a table."""
    base = find_base(raw, *(f"splits/{split}.csv" for split in SPLITS), what="ASL Citizen")
    videos = find_videos(base)
    for split in SPLITS:
        table = base / "splits" / f"{split}.csv"
        if not table.is_file():
            continue

        def make(record: Record, split: str = split) -> Clip:
            return _clip(record, split, videos)

        columns = ("Participant ID", "Video file", "Gloss")
        yield from labelled(read_records(table, columns=columns, separators=","), make)


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=RATE_HZ)


def _clip(record: Record, split: str, videos: Mapping[str, list[Path]]) -> Clip:
    values = record.values
    file = plain_name(values["Video file"])
    # Not Path.stem: one file is called 4.7299129501965353e-7-seedSOUR.mp4, and rows may lack the suffix.
    name = file[:-4] if file.lower().endswith(".mp4") else file
    return Clip(
        id=plain_name(name),
        path=str(video_named(videos, name, among="videos")),
        kind="video",
        text=one_gloss(values["Gloss"]),
        language=LANGUAGE,
        person=values["Participant ID"],
        split=split,
    )
