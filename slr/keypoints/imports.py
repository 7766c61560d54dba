"""Keypoints that others extracted, as `.pose` files: COCO-WholeBody (HRNet, MMPose) and OpenPose.

Each clip becomes one file, written whole or not at all; files that are there already are kept, so a run that was ended
goes on where it stopped. A clip that can't be used is named with its reason and costs nothing else.

COCO-WholeBody has 133 points: body 17, feet 6, face 68, left hand 21, right hand 21. It comes as SLRT's pickle (one
dictionary, clip → {"keypoints": (T, 133, 3)}), as MMPose's JSON, or as `.npz`. OpenPose writes one JSON file per frame,
`CLIP_000000000000_keypoints.json`, as in How2Sign's 2-D keypoints; its body has 25 points, or 18 in old releases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.media.limits import DEFAULT_LIMITS
from signwave.media.paths import local_file
from signwave.media.poses import Components, write_pose
from signwave.prepare import Problem
from slr.keypoints.layout import COCO_BODY_NAMES, COCO_FACE_NAMES, HAND_NAMES
from slr.keypoints.openpose import OPENPOSE_COMPONENTS, openpose_clips, read_json, read_openpose

FloatArray = NDArray[np.float32]
Rate = float | Callable[[str], float]
"""Frames per second: of all clips, or by the clip's name. None of these formats holds it."""

COCO_COMPONENTS: Components = {
    "COCO_BODY": COCO_BODY_NAMES,
    "COCO_FEET": tuple(f"{side}_{part}" for side in ("LEFT", "RIGHT") for part in ("BIG_TOE", "SMALL_TOE", "HEEL")),
    "COCO_FACE": COCO_FACE_NAMES,
    "COCO_LEFT_HAND": HAND_NAMES,
    "COCO_RIGHT_HAND": HAND_NAMES,
}
NUM_COCO_POINTS = 133


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        written: clips written now.
        kept: clips that were there already.
        problems: clips that were left out.
    """

    written: int
    kept: int
    problems: tuple[Problem, ...]


class _Job(NamedTuple):
    """One clip: its name, where it comes from, and how to get (T, J, 3) float32 x, y in pixels, confidence."""

    clip: str
    where: str
    load: Callable[[], FloatArray]


@dataclass(frozen=True)
class _Target:
    """Where the clips of an import go, and what the files say."""

    out_dir: str | Path
    components: Components
    rate_hz: Rate
    size_px: tuple[int, int]
    scale: FloatArray

    def write(self, clip: str, points: FloatArray) -> None:
        write_pose(
            pose_path(self.out_dir, clip),
            components=self.components,
            points=points[..., :2] * self.scale,
            confidence=points[..., 2],
            fps=self.rate_hz(clip) if callable(self.rate_hz) else self.rate_hz,
            size_px=self.size_px,
        )


def pose_path(out_dir: str | Path, clip: str) -> Path:
    """Where the keypoints of a clip lie: its name, folders included, and `.pose`.

    Raises:
        UserError: the name leads out of the folder.
    """
    name = PurePosixPath(clip)
    if not clip.strip("/. ") or name.is_absolute() or ".." in name.parts or "\0" in clip:
        raise UserError(f"clip '{clip}': is no name for a file below {out_dir}; rename it")
    return Path(out_dir) / f"{name}.pose"


def import_coco(
    clips: Mapping[str, Any],
    out_dir: str | Path,
    *,
    rate_hz: Rate,
    size_px: tuple[int, int] = (0, 0),
    normalised: bool = False,
    where: str = "keypoints",
    show_progress: bool = False,
) -> ImportReport:
    """Write COCO-WholeBody keypoints of a dictionary, as `signwave.plain_pickle.read_plain` gives it of SLRT's pickles.

    Args:
        clips: clip → {"keypoints": (T, 133, 3)}, or the array itself, or (T, 133, 2) with "scores" (T, 133).
        out_dir: folder of the `.pose` files.
        rate_hz: frames per second.
        size_px: height and width of the pictures, 0 where unknown.
        normalised: coordinates are shares of the picture's sides instead of pixels; size_px must be known then.
        where: file that they come from, for messages.
        show_progress: show the progress on stderr.
    """
    jobs = (_Job(str(clip), where, partial(coco_points, value)) for clip, value in clips.items())
    target = _Target(out_dir, COCO_COMPONENTS, rate_hz, size_px, _scale(size_px, normalised))
    return _import(jobs, target, show_progress)


def import_coco_files(
    paths: Iterable[str | Path],
    out_dir: str | Path,
    *,
    rate_hz: Rate,
    size_px: tuple[int, int] = (0, 0),
    normalised: bool = False,
    show_progress: bool = False,
) -> ImportReport:
    """Write COCO-WholeBody keypoints of MMPose's JSON files and of `.npz` files; a file is a clip of its name."""
    jobs = (_Job(Path(path).stem, str(path), partial(read_coco, path)) for path in paths)
    target = _Target(out_dir, COCO_COMPONENTS, rate_hz, size_px, _scale(size_px, normalised))
    return _import(jobs, target, show_progress)


def import_openpose(
    folder: str | Path,
    out_dir: str | Path,
    *,
    rate_hz: Rate,
    size_px: tuple[int, int] = (0, 0),
    show_progress: bool = False,
) -> ImportReport:
    """Write the clips of a folder of OpenPose's frame files; see `openpose_clips` and `read_openpose`."""
    jobs = (_Job(clip, str(files[0].parent), partial(read_openpose, files)) for clip, files in openpose_clips(folder))
    return _import(jobs, _Target(out_dir, OPENPOSE_COMPONENTS, rate_hz, size_px, _scale(size_px, False)), show_progress)


def _import(jobs: Iterable[_Job], target: _Target, show_progress: bool) -> ImportReport:
    if show_progress:
        from signwave.command import progress  # the command layer is needed only when somebody watches

        jobs = progress(jobs, "importing keypoints")
    written = kept = 0
    problems: list[Problem] = []
    names: set[str] = set()
    for job in jobs:
        points, problem = _load(job, target, names)
        if problem is not None:
            problems.append(problem)
        elif points is None:
            kept += 1
        else:
            target.write(job.clip, points)
            written += 1
    return ImportReport(written, kept, tuple(problems))


def _load(job: _Job, target: _Target, names: set[str]) -> tuple[FloatArray | None, Problem | None]:
    """The points of a clip, or what is wrong with it; neither where its file is there."""
    try:
        path = pose_path(target.out_dir, job.clip)
        if job.clip in names:
            raise ValueError("a second clip of this name")
        names.add(job.clip)
        if path.exists():
            return None, None
        points = job.load()
    except (UserError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        # What a foreign file holds may have any form at all.
        reason = f"{job.where}: clip '{job.clip}': {_one_line(error)}; extract it again or leave it out"
        return None, Problem(job.where, reason)
    if not (points[..., 2] > 0).any():
        reason = f"{job.where}: clip '{job.clip}': nobody is seen in any of its {len(points)} frames; leave it out"
        return None, Problem(job.where, reason, "empty")
    return points, None


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _scale(size_px: tuple[int, int], normalised: bool) -> FloatArray:
    """(2,) float32, what x and y are multiplied by."""
    if normalised and min(size_px) <= 0:
        raise ValueError(f"coordinates that are shares of the picture need its size_px, got {size_px}")
    return np.asarray([size_px[1], size_px[0]] if normalised else [1, 1], dtype=np.float32)


def coco_points(value: Any) -> FloatArray:
    """(T, 133, 3) float32 x, y, confidence out of what a clip is in one of the known forms.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(value, Mapping):
        return _checked(np.asarray(value, dtype=np.float32))
    if "keypoints" not in value:
        raise ValueError(f"has no 'keypoints'; it has {', '.join(map(str, value)) or 'nothing'}")
    points = np.asarray(value["keypoints"], dtype=np.float32)
    points = points[:, 0] if points.ndim == 4 and points.shape[1] == 1 else points
    scores = next((value[key] for key in ("scores", "keypoint_scores", "keypoints_visible") if key in value), None)
    if points.shape[-1] == 2 and scores is not None:
        points = np.concatenate([points, np.asarray(scores, dtype=np.float32).reshape(*points.shape[:2], 1)], axis=-1)
    return _checked(points)


def _checked(points: FloatArray) -> FloatArray:
    if points.ndim != 3 or points.shape[1:] != (NUM_COCO_POINTS, 3) or len(points) == 0:
        raise ValueError(f"keypoints have shape {points.shape}; COCO-WholeBody is (frames, {NUM_COCO_POINTS}, 3)")
    return points


def read_coco(path: str | Path) -> FloatArray:
    """Read one clip, (T, 133, 3) float32, of MMPose's JSON or of an `.npz` with "keypoints" and perhaps "scores".

    Where a frame shows several people, the one with the largest sum of scores is taken; without anybody it is zeros.

    Raises:
        UserError: the file is missing, too large or no such file.
        ValueError: it holds something else.
    """
    file = local_file(path)
    DEFAULT_LIMITS.check_bytes(path, file.stat().st_size)
    if file.suffix.lower() == ".npz":
        return coco_points(_npz(file))
    content = read_json(file)
    frames = content.get("instance_info") if isinstance(content, dict) else content
    if not isinstance(frames, list):
        raise ValueError("is no list of frames with 'instances', as MMPose writes it")
    return _checked(np.stack([_best_instance(frame) for frame in frames]) if frames else np.empty(0, np.float32))


def _best_instance(frame: Any) -> FloatArray:
    people = [_instance(person) for person in (frame.get("instances", ()) if isinstance(frame, dict) else frame)]
    if not people:
        return np.zeros((NUM_COCO_POINTS, 3), dtype=np.float32)
    return max(people, key=lambda person: float(person[:, 2].sum()))


def _instance(person: Any) -> FloatArray:
    points = np.asarray(person["keypoints"], dtype=np.float32)
    if points.shape[-1] == 2:
        scores = np.asarray(person["keypoint_scores"], dtype=np.float32)
        points = np.concatenate([points, scores[:, None]], axis=1)
    if points.shape != (NUM_COCO_POINTS, 3):
        raise ValueError(f"a person has keypoints of shape {points.shape}; COCO-WholeBody has {NUM_COCO_POINTS}")
    return points


def _npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:
        # zipfile.BadZipFile, zlib.error and EOFError are plain Exceptions; the file is what is wrong.
        raise ValueError(f"is no .npz file of plain arrays ({_one_line(error)})") from error
