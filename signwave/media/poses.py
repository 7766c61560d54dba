"""Keypoints of `.pose` files in a named layout, as plain arrays without gaps; and such files written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError, require
from signwave.media.frames import TIME_TOLERANCE_SECONDS
from signwave.media.limits import DEFAULT_LIMITS, Limits
from signwave.media.paths import local_file
from signwave.rundir import atomic_path


@dataclass(frozen=True)
class Part:
    """One component of a pose file and the points of it that are wanted; all of them if `points` is empty."""

    component: str
    points: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoseLayout:
    """Which keypoints of a file become which joints, in which order.

    Attributes:
        name: what messages and model configurations call it.
        parts: components in the order of the joints; none means every component of the file but world coordinates.
    """

    name: str
    parts: tuple[Part, ...] = ()


Components = Mapping[str, tuple[str, ...]]
"""Names of a file's components → names of their points, in the file's order."""
LayoutFor = Callable[[Components], PoseLayout]
"""Chooses a layout by what a file holds; it may raise ValueError with what is wrong with the components."""

_UPPER_BODY = (
    *("NOSE", "LEFT_EYE", "RIGHT_EYE", "LEFT_SHOULDER", "RIGHT_SHOULDER"),
    *("LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST"),
)
_ARMS = ("LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST")
_MOUTH_AND_BROWS = ("61", "291", "0", "17", "13", "14", "70", "105", "336", "300")
_LEFT, _RIGHT = Part("LEFT_HAND_LANDMARKS"), Part("RIGHT_HAND_LANDMARKS")

LAYOUTS: Mapping[str, PoseLayout] = {
    layout.name: layout
    for layout in (
        PoseLayout("right_hand", (_RIGHT,)),
        PoseLayout("left_hand", (_LEFT,)),
        PoseLayout("hands", (_LEFT, _RIGHT)),
        PoseLayout("hands_arms", (_LEFT, _RIGHT, Part("POSE_LANDMARKS", _ARMS))),
        PoseLayout("hands_body", (_LEFT, _RIGHT, Part("POSE_LANDMARKS", _UPPER_BODY))),
        PoseLayout(
            "hands_body_face",
            (_LEFT, _RIGHT, Part("POSE_LANDMARKS", _UPPER_BODY), Part("FACE_LANDMARKS", _MOUTH_AND_BROWS)),
        ),
        PoseLayout("openpose_hands", (Part("hand_left_keypoints_2d"), Part("hand_right_keypoints_2d"))),
        PoseLayout("all"),
    )
}


@dataclass(frozen=True)
class PoseFrames:
    """Keypoints of one person over time.

    Attributes:
        points: (T, J, C) float32, C = 2 or 3 coordinates in the file's units (pixels), 0 where a joint wasn't seen.
        confidence: (T, J) float32 in [0, 1], 0 where a joint wasn't seen.
        fps: frames per second.
        names: J names, COMPONENT.POINT.
        limbs: pairs of joint numbers that a drawing connects.
        width_px: width of the picture the coordinates are in.
        height_px: height of that picture.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    fps: float
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    width_px: int = 0
    height_px: int = 0

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class PoseInfo:
    """What a pose file holds.

    Attributes:
        path: as it was given.
        num_frames: frames.
        fps: frames per second.
        duration_seconds: num_frames over fps.
        components: names and numbers of points of the components.
    """

    path: str
    num_frames: int
    fps: float
    duration_seconds: float
    components: dict[str, int]


def probe_pose(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> PoseInfo:
    """Say what a pose file holds; the file is read and checked as a whole."""
    pose = _read(path, limits)
    num, fps = len(pose.body.data), float(pose.body.fps)
    components = {component.name: len(component.points) for component in pose.header.components}
    return PoseInfo(str(path), num, fps, num / fps, components)


def read_pose(
    path: str | Path,
    *,
    layout: str | PoseLayout | LayoutFor,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    person: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> PoseFrames:
    """Read the frames of [start, end) in a layout.

    Args:
        path: a local `.pose` file.
        layout: a name in `LAYOUTS`, an own layout, or a function that chooses one by the file's components.
        start_seconds: first instant; frame i is shown at i / fps.
        end_seconds: instant to stop before; the end of the file if None or later than it.
        person: which person, where the file holds several.
        limits: caps.

    Raises:
        MediaError: missing, refused, empty, unreadable, cut off, without frames in the span, or without a component
            or point of the layout (the message names those that exist).
    """
    chosen = layout if callable(layout) else _layout(layout)
    if not 0 <= start_seconds < (math.inf if end_seconds is None else end_seconds):
        raise ValueError(f"need 0 <= start < end, got [{start_seconds}, {end_seconds}) for {path}")
    pose = _read(path, limits)
    num_frames, num_people = pose.body.confidence.shape[:2]
    if not 0 <= person < num_people:
        raise MediaError(path, f"holds {num_people} people; person must be below that, got {person}", kind="no_stream")
    fps = float(pose.body.fps)
    first = math.ceil((start_seconds - TIME_TOLERANCE_SECONDS) * fps)
    stop = num_frames if end_seconds is None else math.ceil((end_seconds - TIME_TOLERANCE_SECONDS) * fps)
    first, stop = max(0, first), min(stop, num_frames)
    if first >= stop:
        text = f"no frame lies in [{start_seconds}, {end_seconds}) s; it is {num_frames / fps:.2f} s long"
        raise MediaError(path, f"{text}, choose a span inside it", kind="empty")
    joints, names, limbs = _joints(path, pose.header, _chosen(path, pose.header, chosen))
    raw = np.ma.getdata(pose.body.data)[first:stop, person][:, joints].astype(np.float32)
    confidence = np.asarray(np.ma.filled(pose.body.confidence, 0))[first:stop, person][:, joints].astype(np.float32)
    seen = np.isfinite(raw).all(axis=-1) & np.isfinite(confidence) & (confidence > 0)
    return PoseFrames(
        points=np.where(seen[..., None], raw, np.float32(0)),
        confidence=np.where(seen, confidence, np.float32(0)).clip(0, 1),
        fps=fps,
        names=names,
        limbs=limbs,
        width_px=int(pose.header.dimensions.width),
        height_px=int(pose.header.dimensions.height),
    )


def _layout(layout: str | PoseLayout) -> PoseLayout:
    if isinstance(layout, PoseLayout):
        return layout
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)} or a PoseLayout, got {layout!r}")
    return LAYOUTS[layout]


def _chosen(path: str | Path, header: Any, layout: PoseLayout | LayoutFor) -> PoseLayout:
    if isinstance(layout, PoseLayout):
        return layout
    try:
        return layout({component.name: tuple(component.points) for component in header.components})
    except ValueError as error:
        raise MediaError(path, str(error), kind="no_stream") from error


def _read(path: str | Path, limits: Limits) -> Any:
    """Read a whole file; pose-format trusts its header, so the sizes are held against the file first and after."""
    file = local_file(path)
    size = file.stat().st_size
    if size == 0:
        raise MediaError(path, "is an empty file of 0 bytes; fetch it again or leave it out", kind="empty")
    limits.check_bytes(path, size)
    pose_format = require("pose_format", extra="poses")
    header_cache = require("pose_format.pose_header", extra="poses").PoseHeaderCache
    try:
        pose = pose_format.Pose.read(file.read_bytes())
    except Exception as error:
        # struct.error and numpy's own are plain Exceptions; whatever it is, the file is what is wrong.
        header_cache.clear_cache()
        detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise MediaError(path, f"is no readable pose file ({detail}); fetch it again or leave it out") from error
    data = pose.body.data
    if data.ndim != 4 or not np.isfinite(pose.body.fps) or pose.body.fps <= 0 or data.shape[1] == 0:
        text = f"holds an array of shape {data.shape} at {pose.body.fps} frames per second; fetch it again"
        raise MediaError(path, text)
    if len(data) == 0:
        raise MediaError(path, "holds no frame; leave it out", frames_obtained=0, kind="empty")
    limits.check_frames(path, len(data))
    return pose


def _joints(
    path: str | Path, header: Any, layout: PoseLayout
) -> tuple[list[int], tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Find the layout's joints among the file's points, with their names and the limbs between them."""
    starts: dict[str, int] = {}
    total = 0
    for component in header.components:
        starts[component.name] = total
        total += len(component.points)
    by_name = {component.name: component for component in header.components}
    parts = layout.parts or tuple(Part(name) for name in by_name if "WORLD" not in name)
    joints: list[int] = []
    names: list[str] = []
    limbs: list[tuple[int, int]] = []
    for part in parts:
        if part.component not in by_name:
            has = ", ".join(f"{name} ({len(component.points)})" for name, component in by_name.items())
            text = f"has no component {part.component} that the layout '{layout.name}' needs; it has {has}"
            raise MediaError(path, f"{text}; choose another layout", kind="no_stream")
        component = by_name[part.component]
        wanted = part.points or tuple(component.points)
        missing = [point for point in wanted if point not in component.points]
        if missing:
            text = f"{part.component} has no point {', '.join(missing[:5])} that the layout '{layout.name}' needs"
            some = ", ".join(component.points[:40])
            raise MediaError(path, f"{text}; it has {some}; choose another layout", kind="no_stream")
        found = [component.points.index(point) for point in wanted] if part.points else range(len(wanted))
        place = {index: len(joints) + i for i, index in enumerate(found)}
        limbs += [(place[a], place[b]) for a, b in component.limbs if a in place and b in place]
        joints += [starts[part.component] + index for index in place]
        names += [f"{part.component}.{point}" for point in wanted]
    return joints, tuple(names), tuple(limbs)


def write_pose(
    path: str | Path,
    *,
    components: Components,
    points: NDArray[np.float32],
    confidence: NDArray[np.float32],
    fps: float,
    size_px: tuple[int, int] = (0, 0),
    limbs: Mapping[str, tuple[tuple[int, int], ...]] | None = None,
) -> None:
    """Write the keypoints of one person as a `.pose` file, atomically.

    Args:
        path: the file; its folder is made.
        components: names of the components → names of their points; together they are the J joints, in order.
        points: (T, J, C) float32, C = 2 or 3 coordinates in pixels; a joint with a value that isn't finite is unseen.
        confidence: (T, J) float32, 0 where a joint isn't seen.
        fps: frames per second.
        size_px: height and width of the picture, 0 where unknown.
        limbs: name of a component → pairs of its points that a drawing connects.
    """
    pose_format = require("pose_format", extra="poses")
    headers = require("pose_format.pose_header", extra="poses")
    bodies = require("pose_format.numpy", extra="poses")
    num_joints = sum(len(names) for names in components.values())
    num_coords = points.shape[2] if points.ndim == 3 else 0
    if points.shape[:2] != confidence.shape or points.shape[1] != num_joints or num_coords not in (2, 3):
        raise ValueError(
            f"need points (T, {num_joints}, 2 or 3) and confidence (T, {num_joints}), "
            f"got {points.shape} and {confidence.shape}"
        )
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be above 0, got {fps}")
    seen = np.isfinite(points).all(-1) & np.isfinite(confidence) & (confidence > 0)
    parts = []
    for name, names in components.items():
        pairs = list((limbs or {}).get(name, ()))
        colours = [(64, 64, 64)] * len(pairs)
        parts.append(
            headers.PoseHeaderComponent(name, list(names), pairs, colours, "XYZC" if num_coords == 3 else "XYC")
        )
    header = headers.PoseHeader(0.2, headers.PoseHeaderDimensions(size_px[1], size_px[0], 0), parts)
    body = bodies.NumPyPoseBody(
        fps,
        np.where(seen[..., None], points, 0).astype(np.float32)[:, None],
        np.where(seen, confidence, 0).astype(np.float32)[:, None],
    )
    with atomic_path(path) as temporary, temporary.open("wb") as out:
        pose_format.Pose(header, body).write(out)
