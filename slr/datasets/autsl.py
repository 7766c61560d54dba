"""AUTSL: 226 isolated signs of Turkish Sign Language, filmed with a Kinect by 43 people against 20 backgrounds.

What        36,302 clips of 512 × 512 at 30 frames a second; other people sign in each split: 31 in train, 6 in val and
            6 in test. Counts below are those of the label files of the release.
From        Ankara University (cvml.ankara.edu.tr), after registration; the ChaLearn challenge of CVPR 2021 used it.
Licence     research only, non-commercial, as the registration says.
Cite        Sincan and Keles, "AUTSL: a large scale multi-modal Turkish Sign Language dataset and baseline methods",
            IEEE Access 8, 2020.
Metric      top-1 and top-5: `slr islr --model RUN test.jsonl.gz`.
Layout      train_labels.csv, validation_labels.csv or val_labels.csv, test_labels.csv (signerX_sampleY,class without a
            header), or ground_truth.csv in the folder of a split; SignList_ClassId_TR_EN.csv (ClassId,TR,EN); videos
            signerX_sampleY_color.mp4 anywhere below. Depth videos are not read.

The gloss is the Turkish word; the English one is a caption.

Traps. The English words are no labels: two classes are both "you". Labels of val and test were published
after the challenge, as files of their own. The archives are encrypted parts (.zip.001 …): unpack them with 7z.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published, Record, check_media, find_base, labelled, read_records
from slr.datasets.isolated_clips import find_videos, one_gloss, video_named

RATE_HZ = 30.0
LANGUAGE = "tsm"
SIGNS = "SignList_ClassId_TR_EN.csv"
TABLES: Mapping[str, tuple[str, ...]] = {
    "train": ("train_labels.csv", "train/train_labels.csv", "train/ground_truth.csv"),
    "val": (
        *("validation_labels.csv", "val_labels.csv"),
        *(f"{folder}/{name}" for folder in ("val", "validation") for name in ("ground_truth.csv", "val_labels.csv")),
    ),
    "test": ("test_labels.csv", "test/ground_truth.csv", "test/test_labels.csv"),
}
"""Where the labels of a split may be."""
_NAME = re.compile(r"(signer\d+)_sample\d+")

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=28_142, glosses=28_142, vocabulary=226),
    "val": Published(clips=4418, glosses=4418, vocabulary=226),
    "test": Published(clips=3742, glosses=3742, vocabulary=226),
}


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of each split for which there are labels.

    Raises:
        UserError: no labels, or no list of signs.
    """
    base = find_base(raw, *(name for names in TABLES.values() for name in names), what="AUTSL with its labels")
    words = _signs(base)
    videos = find_videos(base)
    for split, names in TABLES.items():
        table = next((base / name for name in names if (base / name).is_file()), None)
        if table is None:
            continue

        def make(record: Record, split: str = split) -> Clip:
            return _clip(record, split, words, videos)

        yield from labelled(_labels(table), make)


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=RATE_HZ)


def _signs(base: Path) -> dict[str, tuple[str, str]]:
    """Class → Turkish and English word."""
    path = next((path for path in (base / SIGNS, base.parent / SIGNS) if path.is_file()), None)
    if path is None:
        raise UserError(f"{base}: holds no {SIGNS}; copy it there, it names the signs")
    words: dict[str, tuple[str, str]] = {}
    for record in read_records(path, columns=("ClassId", "TR", "EN"), separators=",;"):
        if isinstance(record, Problem):
            raise ManifestError(str(record))
        number, turkish = record.values["ClassId"], record.values["TR"]
        if number in words or not number.isdecimal() or not turkish:
            raise ManifestError(
                f"{record.where}: class '{number}' with the word '{turkish}'; each needs one of its own"
            )
        words[number] = (turkish, record.values["EN"])
    return words


def _labels(table: Path) -> Iterator[Record | Problem]:
    """Rows of a table without a header."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for line, fields in enumerate(csv.reader(file), 1):
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != 2:
                    yield Problem(
                        f"{table}:{line}", f"{len(fields)} fields, expected name,class; mend the row", "fields"
                    )
                    continue
                yield Record({"name": fields[0].strip(), "class": fields[1].strip()}, f"{table}:{line}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{table}: can't be read as a table ({error}); fetch it again") from error


def _clip(record: Record, split: str, words: Mapping[str, tuple[str, str]], videos: Mapping[str, list[Path]]) -> Clip:
    name, number = record.values["name"], record.values["class"]
    found = _NAME.fullmatch(name)
    if found is None:
        raise ManifestError(f"'{name}' is no name of a clip, such as signer0_sample1; correct the row")
    if number not in words:
        raise ManifestError(f"'{number}' is no class of {SIGNS}; correct the row")
    turkish, english = words[number]
    return Clip(
        id=name,
        path=str(video_named(videos, f"{name}_color")),
        kind="video",
        text=one_gloss(turkish),
        language=LANGUAGE,
        person=found[1],
        captions={"tr": turkish, **({"en": english} if english else {})},
        split=split,
    )
