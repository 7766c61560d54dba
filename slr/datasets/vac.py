"""Import the clip lists of VAC and its descendants (SMKD, TLP, SEN, CorrNet, SlowFastSign): `{split}_info.npy`.

Each is a dictionary with a `prefix` and, by number, fileid, folder, signer, label, num_frames and original_info. Give
the folder that holds them, `preprocess/CORPUS`, or a folder into which you copied them beside the frames. Frames are
looked for where the prefix says (from this folder or one above), then in `fullFrame-*px` folders beside it.

Traps. The training list of Phoenix-2014 lacks the clip of 16 frames. `folder` ends in `/1/*.png` for Phoenix-2014T too,
which has no folder 1. CSL-Daily's list has no signer. The file is read by signwave.plain_pickle and can run nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.plain_pickle import read_plain
from signwave.prepare import Problem, Row
from slr.datasets.annotations import broadcast_of, check_media, frame_folder

SPLITS = ("train", "dev", "test")
RATE_HZ, CHINESE_RATE_HZ = 25.0, 30.0
_NUM_PARENTS = 4
_TRANSLATED_FIELDS = 7
"""Fields of a row of Phoenix-2014T, whose last is a German sentence."""


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the lists in the folder."""
    folder = Path(raw).expanduser().absolute()
    files = {split: folder / f"{split}_info.npy" for split in SPLITS}
    if not any(path.is_file() for path in files.values()):
        raise UserError(f"{raw}: holds no train_info.npy, dev_info.npy or test_info.npy; copy them there")
    for split, path in files.items():
        if path.is_file():
            yield from _rows(path, split)


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last."""
    return check_media(clip, rate_hz=CHINESE_RATE_HZ if clip.language == "csl" else RATE_HZ)


def _rows(path: Path, split: str) -> Iterator[Row | Problem]:
    content = read_plain(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__} where a dictionary of clips is expected; remove it")
    features = _features(path.parent, str(content.get("prefix", "")))
    for number, entry in content.items():
        if not isinstance(number, int):
            continue
        where = f"{path}[{number}]"
        try:
            yield Row(_clip(entry, split, features), where)
        except (ManifestError, ValueError) as error:
            yield Problem(where, str(error), "invalid")


def _features(folder: Path, prefix: str) -> list[Path]:
    """Folders that clips may lie in: as the list says, or beside it."""
    roots = (folder, *list(folder.parents)[:_NUM_PARENTS])
    named = [Path(prefix)] if Path(prefix).is_absolute() else [root / prefix for root in roots] if prefix else []
    patterns = ("fullFrame-*px", "features/fullFrame-*px", "*/features/fullFrame-*px")
    beside = [place for root in roots[:2] for pattern in patterns for place in (root, *sorted(root.glob(pattern)))]
    return [path for path in (*named, *beside) if path.is_dir()]


def _clip(entry: Any, split: str, features: list[Path]) -> Clip:
    missing = {"fileid", "folder", "label"} - set(entry) if isinstance(entry, dict) else {"fileid", "folder", "label"}
    if missing:
        raise ManifestError(f"the entry has no '{sorted(missing)[0]}'; it is no list of VAC's")
    values = {key: " ".join(str(entry.get(key) or "").split()) for key in ("fileid", "folder", "label", "signer")}
    if not values["label"]:
        raise ManifestError(f"clip '{values['fileid']}' has no gloss; it can't be used")
    places = [frame_folder(place, values["folder"]) for place in features]
    path = next((place for place in places if place.is_dir()), places[0] if places else None)
    if path is None:
        raise ManifestError(f"no frames of '{values['folder']}'; copy them beside the lists")
    fields, announced = str(entry.get("original_info", "")).split("|"), entry.get("num_frames")
    # CSL-Daily's rows have as many fields, but begin with a number.
    is_phoenix = fields[0] == values["fileid"]
    return Clip(
        id=values["fileid"],
        path=str(path),
        kind="video",
        # 0 is what the list says that was made where the frames weren't found.
        num_frames=announced if isinstance(announced, int) and announced > 0 else None,
        text=values["label"],
        language="gsg" if is_phoenix else "csl",
        person=values["signer"],
        group=broadcast_of(values["fileid"]) if is_phoenix else "",
        captions={"de": " ".join(fields[-1].split())} if is_phoenix and len(fields) == _TRANSLATED_FIELDS else {},
        split=split,
    )
