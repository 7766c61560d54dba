"""Isharah-1000: 1,000 sentences of Saudi Sign Language, filmed by the signers' own telephones; released as keypoints.

What        SI (other signers are tested): 10,000 and 949 clips in train and dev. US (other sentences are tested): 9,900
            and 550. 18 signers; hours aren't published. The test splits came without glosses, so they are not read.
From        snalyami.github.io/Isharah_CSLR and the MSLR challenge of ICCV 2025.
Licence     CC BY-NC-SA 4.0.
Cite        Alyami, Luqman, Al-Azani, Alowaifeer, Alharbi and Alonaizan, "Isharah: a large-scale multi-scene dataset for
            continuous sign language recognition", arXiv 2506.03615.
Metric      WER on the glosses as they stand: `slr score --protocol plain`.
Layout      {train,dev}.txt or .csv (id|gloss[|text], Arabic script) and pickles {id: {"keypoints": (T, 86, 2)}} beside
            them, above or below. Give the folder of one task, SI or US.

The 86 points are, as the challenge's baseline reads them: right hand 21, left hand 21, outer lips 19 (face-mesh points
in rising order), body 25 (MediaPipe's without the legs: inferred from their number). A part that wasn't seen is all
zeros. The pickles hold no rate; users of the corpus assume 30 frames a second. `prepare` writes one .pose file a clip.

Traps. 932 of the 949 dev sentences of SI occur in its train split: that task tells sentences apart. No dev sentence of
US does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ManifestError, MediaError, UserError, require
from signwave.manifest import Clip
from signwave.media.poses import probe_pose
from signwave.plain_pickle import read_plain
from signwave.prepare import Problem, Row
from signwave.rundir import atomic_path
from slr.datasets.annotations import Published, Record, labelled, plain_name, read_records
from slr.datasets.videos import in_span
from slr.keypoints.layout import SOURCES

WRITES_MEDIA = True
"""`prepare` takes `out_dir`, and writes the poses into it."""
RATE_HZ = 30.0
LANGUAGE, SPOKEN_LANGUAGE = "sdl", "ar"
SPLITS = ("train", "dev", "test")
COMPONENTS: Mapping[str, int] = {
    "ISHARAH_RIGHT_HAND": 21,
    "ISHARAH_LEFT_HAND": 21,
    "ISHARAH_LIPS": 19,
    "ISHARAH_BODY": 25,
}
"""Parts of the 86 points in their order, and how many points each has."""
NUM_POINTS = sum(COMPONENTS.values())
_TABLES = (".txt", ".csv")

PUBLISHED_BY_TASK: Mapping[str, Mapping[str, Published]] = {
    "SI": {"train": Published(clips=10_000, vocabulary=680), "dev": Published(clips=949, glosses=4554)},
    "US": {"train": Published(clips=9900), "dev": Published(clips=550, glosses=2596)},
}


def prepare(raw: str | Path, *, out_dir: str | Path | None = None) -> Iterator[Row | Problem]:
    """Rows of one task; the keypoints of each clip are written to `out_dir/poses` on the way.

    Args:
        raw: the folder of the task, SI or US.
        out_dir: where poses go; without it they are expected in `raw/poses`, e.g. from an earlier run.

    Raises:
        UserError: no table, two tasks at once, or no keypoints.
    """
    folder = _task_folder(Path(raw).expanduser().absolute())
    poses = Path(out_dir) / "poses" if out_dir is not None else folder / "poses"
    store = _Keypoints(_pickles(folder)) if out_dir is not None else None
    for split in SPLITS:
        tables = [folder / f"{split}{suffix}" for suffix in _TABLES]
        table = next((path for path in tables if path.is_file()), None)
        if table is None or (split == "test" and not _has_glosses(table)):
            continue
        records = read_records(table, columns=("id", "gloss"), separators="|,\t")
        yield from labelled(records, partial(_clip, split=split, poses=poses, store=store))


def check(clip: Clip) -> Clip:
    """Read the whole file and note its length."""
    info = probe_pose(clip.path)
    return in_span(clip, num_frames=info.num_frames, rate_hz=info.fps)


def write_pose(path: str | Path, keypoints: NDArray[Any], *, rate_hz: float = RATE_HZ) -> Path:
    """Write the 86 keypoints of a clip as a `.pose` file.

    Args:
        path: file to write.
        keypoints: (T, 86, 2 or 3) x, y and confidence if there is one; points of (0, 0) were not seen.
        rate_hz: frames a second.

    Raises:
        MediaError: another shape, no frame, or no number.
    """
    if keypoints.ndim != 3 or keypoints.shape[1] != NUM_POINTS or keypoints.shape[2] not in (2, 3):
        reason = f"keypoints of shape {keypoints.shape}, expected (T, {NUM_POINTS}, 2 or 3); leave the clip out"
        raise MediaError(path, reason)
    if not len(keypoints):
        raise MediaError(path, "no frame of keypoints; leave the clip out", kind="empty")
    points = np.nan_to_num(keypoints[..., :2].astype(np.float32), posinf=0, neginf=0)
    seen = (points != 0).any(axis=-1)
    given = keypoints[..., 2].astype(np.float32) if keypoints.shape[2] == 3 else np.ones(seen.shape, np.float32)
    confidence = np.where(seen, np.nan_to_num(given).clip(0, 1), np.float32(0))
    side = max(1, math.ceil(min(float(np.abs(points).max()), 2.0**15)))
    body_module = require("pose_format.numpy.pose_body", extra="poses")
    data = np.ma.masked_array(points[:, None], np.repeat(~seen[:, None, :, None], 2, axis=-1))
    body = body_module.NumPyPoseBody(fps=rate_hz, data=data, confidence=confidence[:, None])
    pose = require("pose_format", extra="poses").Pose(_header(side), body)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        pose.write(file)
    return Path(path)


def _header(side_px: int) -> Any:
    module = require("pose_format.pose_header", extra="poses")
    names = {component.name: component.whole for component in SOURCES["isharah"]}
    components = [
        module.PoseHeaderComponent(name, list(names[name]), [], [(255, 255, 255)], "XYC") for name in COMPONENTS
    ]
    return module.PoseHeader(0.2, module.PoseHeaderDimensions(side_px, side_px, 0), components)


class _Keypoints:
    """Clips of several pickles; each file is read when a clip isn't in those before it."""

    def __init__(self, paths: list[Path]) -> None:
        self._unread = paths
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        while name not in self._read and self._unread:
            path = self._unread.pop(0)
            content = read_plain(path)
            if not isinstance(content, dict):
                raise UserError(f"{path}: holds a {type(content).__name__} where clips by name are expected; remove it")
            self._read = {**content, **self._read}
        entry = self._read.get(name)
        keypoints = entry.get("keypoints") if isinstance(entry, dict) else entry
        if not isinstance(keypoints, np.ndarray) or keypoints.dtype.kind not in "fiu":
            raise MediaError(name, "no keypoints in the pickles; leave the clip out", kind="missing")
        return keypoints


def _clip(record: Record, *, split: str, poses: Path, store: _Keypoints | None) -> Clip:
    values = record.values
    name = plain_name(values["id"])
    path = poses / f"{name}.pose"
    if store is not None and not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pose(path, store[name])
    if not path.is_file():
        raise ManifestError(f"no {path}; give the folder that poses are written to (`slr prepare` does)")
    sentence = values.get("text", "")
    return Clip(
        id=name,
        path=str(path),
        kind="pose",
        text=values["gloss"],
        language=LANGUAGE,
        person=name.split("_")[0] if "_" in name else "",
        group=name.split("_")[-1] if "_" in name else "",
        captions={SPOKEN_LANGUAGE: sentence} if sentence else {},
        split=split,
    )


def _task_folder(folder: Path) -> Path:
    """The folder that holds the tables of one task."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a task, SI or US")
    tables = [path for suffix in _TABLES for path in sorted(folder.rglob(f"train{suffix}"))]
    found = sorted({path.parent for path in tables})
    if folder in found:
        return folder
    if len(found) != 1:
        some = ", ".join(str(path) for path in found) or "none"
        raise UserError(f"{folder}: needs one train.txt or train.csv, has it in: {some}; give the folder of one task")
    return found[0]


def _pickles(folder: Path) -> list[Path]:
    """Pickles beside the tables, else below them, else up to two folders above; those of the test splits last."""
    below = (folder, "**/*.pkl*")
    for place, pattern in ((folder, "*.pkl*"), below, (folder.parent, "*.pkl*"), (folder.parent.parent, "*.pkl*")):
        found = sorted(place.glob(pattern), key=lambda path: ("test" in path.name.lower(), path.name))
        if found:
            return found
    raise UserError(f"{folder}: no .pkl file of keypoints beside the tables, below or above; copy it there")


def _has_glosses(table: Path) -> bool:
    with table.open(encoding="utf-8-sig") as file:
        return "gloss" in file.readline()
