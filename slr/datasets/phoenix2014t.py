"""RWTH-PHOENIX-Weather 2014T (v3): forecasts of German television with glosses and German sentences.

What        10.5 hours at 25 frames a second, 9 signers, 8,257 sentences.
From        phoenix-2014-T.v3.tar.gz of RWTH Aachen, Human Language Technology.
Licence     CC BY-NC-SA 3.0.
Cite        Camgöz, Hadfield, Koller, Ney and Bowden, "Neural sign language translation", CVPR 2018.
Metric      WER after the corpus's own cleaning: `slr score --protocol official-p14t`.
Layout      PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.{train,dev,test}.corpus.csv
            (name|video|start|end|speaker|orth|translation) and features/fullFrame-210x260px/SPLIT/NAME/images0001.png.

Traps. The column `video` says NAME/1/*.png, but there is no folder 1. start and end are always -1. A stray .lprof file
lies among the frames of dev. The train split holds sentences of Phoenix-2014's dev and test (13 to 15 % of their
glosses): what was trained here must not be evaluated there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from slr.datasets.annotations import (
    Published,
    Record,
    broadcast_of,
    check_media,
    date_of,
    features_folder,
    find_base,
    frame_folder,
    labelled,
    read_records,
)

RATE_HZ = 25.0
LANGUAGE, SPOKEN_LANGUAGE = "gsg", "de"
SPLITS = ("train", "dev", "test")
_TABLE = "annotations/manual/PHOENIX-2014-T.{split}.corpus.csv"

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=7096, frames=827_354, glosses=55_247, vocabulary=1085, singletons=355),
    "dev": Published(clips=519, frames=55_775, glosses=3748),
    "test": Published(clips=642, frames=64_627, glosses=4264),
}
"""The vocabulary is that of the table; the literature also has 1066 and, after cleaning, 1061."""


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the corpus."""
    base = find_base(raw, *(_TABLE.format(split=split) for split in SPLITS), what="PHOENIX-2014-T")
    for split in SPLITS:
        table = base / _TABLE.format(split=split)
        if table.is_file():
            records = read_records(table, columns=("name", "video", "speaker", "orth", "translation"))
            yield from labelled(records, partial(_clip, split=split, features=features_folder(base) / split))


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=RATE_HZ)


def _released(folder: Path) -> Path:
    """The folder as it was released, without the `1` of the table, also where it is missing and will be named."""
    return folder.parent if folder.name == "1" and not folder.is_dir() else folder


def _clip(record: Record, *, split: str, features: Path) -> Clip:
    values = record.values
    sentence = values["translation"]
    return Clip(
        id=values["name"],
        path=str(_released(frame_folder(features, values["video"]))),
        kind="video",
        text=values["orth"],
        language=LANGUAGE,
        person=values["speaker"],
        group=broadcast_of(values["name"]),
        date=date_of(values["name"]),
        captions={SPOKEN_LANGUAGE: sentence} if sentence else {},
        split=split,
    )
