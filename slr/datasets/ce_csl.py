"""CE-CSL: Chinese Sign Language in complex environments, filmed by 12 people against their own backgrounds.

What        5,988 clips (train, dev, test: 4,973, 515, 500) with glosses and Chinese sentences.
From        the repository woshisad159/TFNet, which links the download.
Licence     none is stated; ask the authors before you publish what you make of it.
Cite        Zhu, Li, Yuan, Fan and Gan, "A Chinese continuous sign language dataset based on complex environments",
            arXiv 2409.11960.
Metric      WER on glosses cleaned as the authors do (see below): `slr score --protocol plain`; TFNet has 42.1 on dev
            and 41.9 on test.
Layout      label/{train,dev,test}.csv (Number,Translator,Chinese Sentences,Gloss,Note; glosses parted by '/') and
            video/SPLIT/TRANSLATOR/NUMBER.mp4.

Traps. Glosses carry notes in brackets, and numbers that tell variants of a sign apart. The authors drop both before
they count 3,515 glosses, and so does this reader (3,862 otherwise). Full stops and question marks are glosses of their
own, one a sentence, and count in the published error rates. dev and test hold no gloss that train lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published, Record, check_media, find_base, labelled, plain_name, read_records

RATE_HZ = 25.0
LANGUAGE, SPOKEN_LANGUAGE = "csl", "zh"
SPLITS = ("train", "dev", "test")
_NOTE = re.compile(r"[(（\[{].*?([)）\]}]|$)")
_SAME_MARK = {",": "，", "?": "？"}

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=4973, glosses=28_272, vocabulary=3515),
    "dev": Published(clips=515, glosses=2842, vocabulary=774),
    "test": Published(clips=500, glosses=3040, vocabulary=714),
}


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the corpus."""
    base = find_base(raw, *(f"label/{split}.csv" for split in SPLITS), what="CE-CSL")
    for split in SPLITS:
        table = base / "label" / f"{split}.csv"
        if table.is_file():
            columns = ("Number", "Translator", "Chinese Sentences", "Gloss")
            records = read_records(table, columns=columns, separators=",")
            yield from labelled(records, partial(_clip, split=split, videos=base / "video" / split))


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=RATE_HZ)


def clean_gloss(gloss: str) -> str:
    """A gloss as the authors count it: without notes in brackets and without the number of a variant.

    >>> clean_gloss("给（你）"), clean_gloss("上班2"), clean_gloss("05"), clean_gloss("5点"), clean_gloss("?")
    ('给', '上班', '5', '5点', '？')
    """
    text = _NOTE.sub("", gloss).strip()
    if text[-1:].isdigit() and not text[0].isdigit():
        text = text[:-1]
    return str(int(text)) if text.isdigit() else _SAME_MARK.get(text, text)


def _clip(record: Record, *, split: str, videos: Path) -> Clip:
    values = record.values
    name, translator = plain_name(values["Number"]), values["Translator"]
    folder = videos / plain_name(translator) if translator else videos
    cleaned = (clean_gloss(gloss) for gloss in values["Gloss"].split("/"))
    sentence = values["Chinese Sentences"]
    return Clip(
        id=name,
        # The authors' own script turns videos into folders of pictures of the same names.
        path=str(folder / name if (folder / name).is_dir() else folder / f"{name}.mp4"),
        kind="video",
        text=" ".join("".join(gloss.split()) for gloss in cleaned if gloss),
        language=LANGUAGE,
        person=translator,
        captions={SPOKEN_LANGUAGE: sentence} if sentence else {},
        split=split,
    )
