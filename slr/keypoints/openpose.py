"""OpenPose's output as arrays: one JSON file per frame, `CLIP_000000000000_keypoints.json`, one folder per clip.

How2Sign's 2-D keypoints have this form. The body has 25 points, or 18 in old releases; face 70, each hand 21.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.media.paths import local_folder
from signwave.media.poses import Components

FloatArray = NDArray[np.float32]

_OPENPOSE_FACE = (
    *(*(f"FB_{i}" for i in range(17)), *(f"FEB_{i}" for i in range(17, 27)), *(f"FN_{i}" for i in range(27, 36))),
    *(*(f"FE_{i}" for i in range(36, 48)), *(f"FLO_{i}" for i in range(48, 60)), *(f"FLI_{i}" for i in range(60, 68))),
    *("FP_68", "FP_69"),
)
_OPENPOSE_HAND = (
    "BASE",
    "T_STT",
    "T_BCMC",
    "T_MCP",
    "T_IP",
    *(f"{f}_{j}" for f in "IMRP" for j in ("CMC", "MCP", "PIP", "DIP")),
)
OPENPOSE_COMPONENTS: Components = {
    "pose_keypoints_2d": (
        *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee"),
        *("RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel"),
        *("RBigToe", "RSmallToe", "RHeel"),
    ),
    "face_keypoints_2d": _OPENPOSE_FACE,
    "hand_left_keypoints_2d": _OPENPOSE_HAND,
    "hand_right_keypoints_2d": _OPENPOSE_HAND,
}
"""As pose-format names OpenPose's points."""
_BODY_18_AT = (*range(8), *range(9, 19))
"""Where the 18 points of the old body lie among the 25; the middle of the hips is missing."""
_FRAME_FILE = re.compile(r"^(?P<clip>.*?)_?(?P<number>\d+)_keypoints\.json$")
_MAX_GAP = 4


def openpose_clips(folder: str | Path) -> Iterator[tuple[str, list[Path]]]:
    """Clips of a folder and of those below it, with their frame files in the order of their numbers.

    A folder with the frames of one clip is named by its path; where several lie in one, the file names tell them apart.

    Raises:
        UserError: no frame file is there.
    """
    root = local_folder(folder)
    found = False
    for place, folders, names in os.walk(root):
        folders.sort()
        clips: dict[str, list[tuple[int, Path]]] = {}
        for name in names:
            match = _FRAME_FILE.match(name)
            if match:
                clips.setdefault(match["clip"], []).append((int(match["number"]), Path(place, name)))
        inside = Path(place).relative_to(root).as_posix()
        for clip, files in sorted(clips.items()):
            found = True
            alone = len(clips) == 1 and inside != "."
            yield (
                inside if alone else str(PurePosixPath(inside, clip or root.name)),
                [path for _, path in sorted(files)],
            )
    if not found:
        raise UserError(f"{folder}: no file NAME_000000000000_keypoints.json in it or below; is it OpenPose's output?")


def read_openpose(files: list[Path]) -> FloatArray:
    """Read the frame files of one clip: (T, 137, 3) float32 x, y, confidence; zeros where nobody is seen.

    Frames follow the numbers of the files: a number that is left out is a frame in which nobody is seen. Of several
    people the one with the largest sum of confidences is taken.

    Args:
        files: frame files of one clip, by rising number.

    Raises:
        ValueError: a file is no OpenPose output, or most numbers are left out.
    """
    numbers = [int(match["number"]) for match in map(_FRAME_FILE.match, (file.name for file in files)) if match]
    num_frames = numbers[-1] - numbers[0] + 1
    if num_frames > _MAX_GAP * len(files):
        raise ValueError(f"{len(files)} files have numbers from {numbers[0]} to {numbers[-1]}; most are missing")
    frames = np.zeros((num_frames, sum(map(len, OPENPOSE_COMPONENTS.values())), 3), dtype=np.float32)
    for number, file in zip(numbers, files):
        people = read_json(file)
        people = people.get("people") if isinstance(people, dict) else None
        if not isinstance(people, list):
            raise ValueError(f"{file.name} has no list of 'people', as OpenPose writes it")
        if people:
            candidates = [_openpose_person(person, file.name) for person in people]
            frames[number - numbers[0]] = max(candidates, key=lambda points: float(points[:, 2].sum()))
    return frames


def _openpose_person(person: Any, name: str) -> FloatArray:
    parts = []
    for component, names in OPENPOSE_COMPONENTS.items():
        values = np.asarray(person.get(component) or (), dtype=np.float32)
        part = np.zeros((len(names), 3), dtype=np.float32)
        if len(values) == 3 * len(names):
            part[:] = values.reshape(-1, 3)
        elif component == "pose_keypoints_2d" and len(values) == 3 * len(_BODY_18_AT):
            part[list(_BODY_18_AT)] = values.reshape(-1, 3)
        elif len(values):
            raise ValueError(f"{name}: {component} has {len(values)} numbers, {3 * len(names)} are meant")
        parts.append(part)
    return np.nan_to_num(np.concatenate(parts), nan=0.0, posinf=0.0, neginf=0.0)


def read_json(file: Path) -> Any:
    """Read a JSON file of whatever form; ValueError names a broken one."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} is no JSON file ({str(error)[:100]})") from error
