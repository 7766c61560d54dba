"""CSL-Daily: everyday sentences in Chinese Sign Language, filmed in a studio.

What        22.8 hours at 30 frames a second, 10 signers, 20,654 clips with glosses and Chinese sentences.
From        University of Science and Technology of China, after a signed agreement sent by mail.
Licence     research only, as the agreement says.
Cite        Zhou, Zhou, Qi, Pu and Li, "Improving sign language translation with monolingual data by sign
            back-translation", CVPR 2021.
Metric      WER on the glosses as they stand; no official script was published: `slr score --protocol plain`.
Layout      sentence_label/split_1.txt (name|split) with sentence_label/video_map.txt
            (index|name|length|gloss|char|word|postag) or csl2020ct_v2.pkl, and pictures NAME/000000.jpg of 512 × 512 in
            sentence/frames_512x512 or sentence_frames-512x512; any folder above or inside is taken.

Traps. Names are SENTENCE_PERFORMER_TAKE, e.g. S000020_P0004_T00. split_1.txt lists S000005_P0004_T00, for which there
is no label, and lacks S000007_P0003_T00, for which there is one: both are reported. Pictures packed in one zip of two
million members must be unpacked first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.plain_pickle import read_plain
from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published, Record, check_media, find_base, labelled, plain_name, read_records

RATE_HZ = 30.0
LANGUAGE, SPOKEN_LANGUAGE = "csl", "zh"
_TABLE, _PICKLES = "video_map.txt", ("csl2020ct_v2.pkl", "csl2020ct_v1.pkl")
_LABELS = (_TABLE, *_PICKLES)
_FRAMES = (
    *("sentence/frames_512x512", "sentence_frames-512x512/frames_512x512"),
    *("sentence_frames-512x512", "frames_512x512"),
)

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=18_401, frames=2_185_329, glosses=133_714, vocabulary=2000),
    "dev": Published(clips=1077, frames=131_931, glosses=8173),
    "test": Published(clips=1176, frames=150_248, glosses=9002),
}


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the corpus, split as split_1.txt says."""
    probes = [f"{folder}{name}" for name in _LABELS for folder in ("sentence_label/", "")]
    base = find_base(raw, *probes, what="CSL-Daily with its labels")
    folder = base if any((base / name).exists() for name in _LABELS) else base / "sentence_label"
    frames = _frames_folder(folder)
    splits: dict[str, str] = {}
    places: dict[str, str] = {}
    for record in read_records(folder / "split_1.txt", columns=("name", "split")):
        if isinstance(record, Problem):
            yield record
            continue
        splits[record.values["name"]], places[record.values["name"]] = record.values["split"], record.where
    seen = set()

    def make(record: Record) -> Clip:
        seen.add(record.values["name"])
        return _clip(record, splits, frames)

    yield from labelled(_records(folder), make)
    for name in sorted(set(splits) - seen):
        yield Problem(places[name], f"clip '{name}' has no label; it can't be used", "label")


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=RATE_HZ)


def _frames_folder(labels: Path) -> Path:
    places = [root / name for root in (labels.parent, labels, labels.parent.parent) for name in _FRAMES]
    found = next((path for path in places if path.is_dir()), None)
    if found is None:
        raise UserError(f"{labels.parent}: holds none of {', '.join(_FRAMES)}; unpack the pictures there")
    return found


def _records(folder: Path) -> Iterator[Record | Problem]:
    """Labels of the table, or of the pickle where the table isn't there, under the names of the table."""
    if (folder / _TABLE).is_file():
        yield from read_records(folder / _TABLE, columns=("name", "gloss", "char"))
        return
    path = next(folder / name for name in _PICKLES if (folder / name).is_file())
    content = read_plain(path)
    rows = content.get("info") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: holds no list 'info' of clips; fetch it again")
    for number, row in enumerate(rows):
        yield Record(_texts(row), f"{path}:info[{number}]")


def _texts(row: dict[str, Any]) -> dict[str, str]:
    labels = {name: row.get(f"label_{name}") or () for name in ("gloss", "char")}
    return {"name": str(row.get("name", "")), **{name: " ".join(map(str, tokens)) for name, tokens in labels.items()}}


def _clip(record: Record, splits: Mapping[str, str], frames: Path) -> Clip:
    values = record.values
    name = plain_name(values["name"])
    if name not in splits:
        raise ManifestError(f"clip '{name}' is in no split of split_1.txt; it can't be used")
    sentence = values["char"].replace(" ", "")
    parts = name.split("_")
    return Clip(
        id=name,
        path=str(frames / name),
        kind="video",
        text=values["gloss"],
        language=LANGUAGE,
        person=parts[1] if len(parts) > 1 else "",
        group=parts[0] if len(parts) > 1 else "",
        captions={SPOKEN_LANGUAGE: sentence} if sentence else {},
        split=splits[name],
    )
