"""WLASL: 2,000 isolated signs of American Sign Language from teaching videos and dictionaries on the web.

What        21,083 clips of 119 people in version 0.3 of the list. WLASL100, 300, 1000 and 2000 are its first glosses,
            which are ordered by how many clips they have: `--subset 100`. The counts below are those of the list.
From        the repository dxli94/WLASL, whose scripts fetch the videos from the sites that show them.
Licence     Computational Use of Data Agreement 1.0 for the list; the videos belong to others: academic use only, no
            commercial use.
Cite        Li, Rodriguez Opazo, Yu and Li, "Word-level deep sign language recognition from video: a new large-scale
            dataset and methods comparison", WACV 2020.
Metric      top-1, top-5 and top-10, per instance and per class: `slr islr --model RUN test.jsonl.gz`.
Layout      WLASL_v0.3.json, in start_kit or beside the videos: [{"gloss", "instances": [{"video_id", "url", "split",
            "signer_id", "frame_start", "frame_end", "fps", "variation_id", …}]}]. Videos anywhere below: VIDEO_ID.mp4
            as the authors' preprocess.py cuts them, else the whole YouTube video, named by its 11 letters.

Spans. frame_start counts from 1 and frame_end belongs to the sign, at `fps` (always 25); -1 is the end of the video.
They are for whole videos: a VIDEO_ID.mp4 is cut already, and cutting it again, as is often done, takes the wrong
frames.

Traps. Videos vanish: many of the 5,135 clips from YouTube and of those of the other sites can't be fetched any more.
Figures compare only where the same clips were left; ask the authors for the missing ones. The splits are not by
person: of 105 people in test 104 are in train. 150 glosses have several dialects or variants (variation_id), which look
unlike each other under one label; and some labels share one sign. Glosses were taken from the titles of videos. One
gloss has no clip in test. The lists nslt_K.json of the authors' I3D code hold 12 clips that the list doesn't (21,095).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published, check_media, find_base, plain_name
from slr.datasets.isolated_clips import find_videos, one_gloss, video_named

RATE_HZ = 25.0
LANGUAGE, SPOKEN_LANGUAGE = "ase", "en"
LIST = "WLASL_v0.3.json"
SPLITS = ("train", "val", "test")
_YOUTUBE = re.compile(r"youtu\.?be.*?([\w-]{11})$")


def _published(num_glosses: int, train: int, val: int, test: int, num_tested: int = 0) -> dict[str, Published]:
    sizes = {"train": (train, num_glosses), "val": (val, num_glosses), "test": (test, num_tested or num_glosses)}
    return {split: Published(clips=size, glosses=size, vocabulary=known) for split, (size, known) in sizes.items()}


SUBSETS: Mapping[str, Mapping[str, Published]] = {
    "100": _published(100, 1442, 338, 258),
    "300": _published(300, 3549, 900, 668),
    "1000": _published(1000, 8974, 2318, 1876),
    "2000": _published(2000, 14_289, 3916, 2878, 1999),
}
"""Number of glosses → counts by split."""
PUBLISHED = SUBSETS["2000"]


def prepare(raw: str | Path, *, subset: str = "2000") -> Iterator[Row | Problem]:
    """Rows of the corpus.

    Args:
        raw: the clone of the repository, or a folder with the list and the videos.
        subset: 100, 300, 1000 or 2000: so many glosses from the top of the list.

    Raises:
        UserError: no list, or one that isn't JSON.
    """
    if subset not in SUBSETS:
        raise UserError(f"--subset {subset}: allowed are {', '.join(SUBSETS)}")
    base = find_base(raw, LIST, f"start_kit/{LIST}", what="WLASL with its list")
    path = next(path for path in (base / LIST, base / "start_kit" / LIST) if path.exists())
    videos = find_videos(base)
    for number, entry in enumerate(_entries(path)[: int(subset)]):
        where = f"{path}:[{number}]"
        gloss = entry.get("gloss") if isinstance(entry, dict) else None
        instances = entry.get("instances") if isinstance(entry, dict) else None
        if not isinstance(gloss, str) or not gloss.strip() or not isinstance(instances, list):
            yield Problem(where, "no entry with a gloss and its instances; fetch the list again", "label")
            continue
        for place, instance in enumerate(instances):
            yield _row(gloss, instance, f"{where}.instances[{place}]", videos)


def check(clip: Clip) -> Clip:
    """Count the frames of the span, and read its first and last."""
    return check_media(clip, rate_hz=RATE_HZ)


def _entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ManifestError(f"{path}: can't be read as JSON ({error}); fetch it again") from error
    if not isinstance(content, list) or not content:
        raise ManifestError(f"{path}: holds no list of glosses; fetch it again")
    return content


def _row(gloss: str, instance: Any, where: str, videos: Mapping[str, list[Path]]) -> Row | Problem:
    try:
        return Row(_clip(gloss, instance, videos), where)
    except (UserError, ValueError) as error:
        return Problem(where, str(error), str(getattr(error, "kind", "invalid")))


def _clip(gloss: str, instance: Any, videos: Mapping[str, list[Path]]) -> Clip:
    if not isinstance(instance, dict):
        raise ManifestError("no instance with a video_id; fetch the list again")
    name, split = plain_name(str(instance.get("video_id", ""))), instance.get("split")
    if split not in SPLITS:
        raise ManifestError(f"clip '{name}' is of split {split!r}; allowed are {', '.join(SPLITS)}")
    youtube = _YOUTUBE.search(str(instance.get("url", "")))
    recording = youtube[1] if youtube else ""
    path, start, end = _media(name, recording, instance, videos)
    return Clip(
        id=name,
        path=str(path),
        kind="video",
        start_seconds=start,
        end_seconds=end,
        text=one_gloss(gloss),
        language=LANGUAGE,
        person=str(instance.get("signer_id", "")),
        group=recording,  # other signs of the same recording
        captions={SPOKEN_LANGUAGE: " ".join(gloss.split())},
        split=split,
    )


def _media(
    name: str, recording: str, instance: Mapping[str, Any], videos: Mapping[str, list[Path]]
) -> tuple[Path, float, float | None]:
    """A video and the span of the sign in it."""
    first, last, fps = (instance.get(key, usual) for key, usual in (("frame_start", 1), ("frame_end", -1), ("fps", 25)))
    whole = all(type(value) is int for value in (first, last, fps))
    if not whole or fps < 1 or first < 1 or (last != -1 and last < first):
        raise ManifestError(f"clip '{name}' has the frames {first!r} to {last!r} at {fps!r} a second; correct them")
    if name in videos or recording not in videos:
        return video_named(videos, name, among="videos"), 0.0, None
    return video_named(videos, recording), (first - 1) / fps, None if last == -1 else last / fps
