"""RWTH-PHOENIX-Weather 2014, multisigner (v3): weather forecasts of German television in German Sign Language.

What        10.7 hours at 25 frames a second, 9 signers, 6,841 sentences with glosses and no translation.
From        phoenix-2014.v3.tar.gz of RWTH Aachen, Human Language Technology.
Licence     a Creative Commons licence for non-commercial use with attribution (see the README inside).
Cite        Koller, Forster and Ney, "Continuous sign language recognition", CVIU 141, 2015.
Metric      WER after the official cleaning of hypotheses: `slr score --protocol official-p14`.
Layout      phoenix-2014-multisigner/annotations/manual/{train,dev,test}.corpus.csv (id|folder|signer|annotation) and
            features/fullFrame-210x260px/SPLIT/ID/1/ID.avi_pid0_fn000000-0.png; any folder above or inside is taken.

Traps. Pictures of 210 × 260 are squeezed (300 high would be true). The annotation has double blanks. One training clip,
13April_2011_Wednesday_tagesschau_default-14, is 16 frames long, too short for its glosses at any usual stride: VAC and
its descendants leave it out (5,671 clips), others keep it; it is kept here and named in the report. The broadcasts of
dev and test all occur in train as well, and sentences of dev and test are in the train split of Phoenix-2014T: never
evaluate here what was trained there.
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
LANGUAGE = "gsg"
SPLITS = ("train", "dev", "test")
_TABLES = "annotations/manual"

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=5672, frames=799_006, glosses=65_227, vocabulary=1231, singletons=410),
    "dev": Published(clips=540, frames=75_186, glosses=5540),
    "test": Published(clips=629, frames=89_472, glosses=6504),
}


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the corpus."""
    return rows_of(raw, table="{split}.corpus.csv", what="phoenix-2014-multisigner")


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=RATE_HZ)


def rows_of(raw: str | Path, *, table: str, what: str) -> Iterator[Row | Problem]:
    """Rows of one of the two set-ups, which differ in the names of their tables."""
    base = find_base(raw, *(f"{_TABLES}/{table.format(split=split)}" for split in SPLITS), what=what)
    for split in SPLITS:
        path = base / _TABLES / table.format(split=split)
        if path.is_file():
            records = read_records(path, columns=("id", "folder", "signer", "annotation"))
            yield from labelled(records, partial(_clip, split=split, features=features_folder(base) / split))


def _clip(record: Record, *, split: str, features: Path) -> Clip:
    values = record.values
    return Clip(
        id=values["id"],
        path=str(frame_folder(features, values["folder"])),
        kind="video",
        text=values["annotation"],
        language=LANGUAGE,
        person=values["signer"],
        group=broadcast_of(values["id"]),
        date=date_of(values["id"]),
        split=split,
    )
