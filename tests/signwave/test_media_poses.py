"""Keypoints by name, by span, from damaged files, and drawn."""

import io
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

pose_format = pytest.importorskip("pose_format")
from pose_format.numpy import NumPyPoseBody  # noqa: E402
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions  # noqa: E402

from signwave.errors import MediaError  # noqa: E402
from signwave.media.drawing import draw_pose, render_pose  # noqa: E402
from signwave.media.limits import Limits  # noqa: E402
from signwave.media.poses import LAYOUTS, Part, PoseLayout, probe_pose, read_pose, write_pose  # noqa: E402
from signwave.media.video import open_video, probe  # noqa: E402

BODY = (
    "NOSE",
    "LEFT_EYE",
    "RIGHT_EYE",
    "LEFT_SHOULDER",
    "RIGHT_SHOULDER",
    "LEFT_ELBOW",
    "RIGHT_ELBOW",
    "LEFT_WRIST",
    "RIGHT_WRIST",
)
HAND = tuple(f"P{i}" for i in range(21))


def make_pose(path: Path, *, num_frames: int = 10, fps: float = 25.0, num_people: int = 1, seed: int = 0) -> np.ndarray:
    """Write a made-up pose file; returns its coordinates (T, people, J, 3)."""
    rng = np.random.default_rng(seed)
    components = [
        PoseHeaderComponent("POSE_LANDMARKS", list(BODY), [(3, 4), (3, 5)], [(255, 0, 0)], "XYZC"),
        PoseHeaderComponent("LEFT_HAND_LANDMARKS", list(HAND), [(0, i) for i in range(1, 21)], [(0, 255, 0)], "XYZC"),
        PoseHeaderComponent("RIGHT_HAND_LANDMARKS", list(HAND), [(0, i) for i in range(1, 21)], [(0, 0, 255)], "XYZC"),
        PoseHeaderComponent("POSE_WORLD_LANDMARKS", list(BODY), [], [(255, 0, 0)], "XYZC"),
    ]
    header = PoseHeader(0.2, PoseHeaderDimensions(200, 100, 0), components)
    num_joints = header.total_points()
    data = rng.uniform(5, 95, (num_frames, num_people, num_joints, 3)).astype(np.float32)
    confidence = rng.uniform(0.2, 1, (num_frames, num_people, num_joints)).astype(np.float32)
    if num_frames:
        confidence[0, 0, 9] = 0
        data[-1, 0, 10, 1] = np.nan
    with path.open("wb") as out:
        pose_format.Pose(header, NumPyPoseBody(fps, data, confidence)).write(out)
    return data


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    make_pose(tmp_path / "a.pose")
    return tmp_path / "a.pose"


def test_layouts_pick_joints_by_name(tmp_path: Path) -> None:
    raw = make_pose(tmp_path / "a.pose")[:, 0]
    hands = read_pose(tmp_path / "a.pose", layout="hands")
    assert hands.points.shape == (10, 42, 3)
    assert hands.points.dtype == hands.confidence.dtype == np.float32
    assert (hands.fps, hands.width_px, hands.height_px, len(hands)) == (25.0, 200, 100, 10)
    seen = hands.confidence > 0
    np.testing.assert_array_equal(hands.points[seen], raw[:, 9:51][seen])
    assert hands.confidence[0, 0] == 0 and not hands.points[0, 0].any()  # noqa: PT018
    assert hands.confidence[-1, 1] == 0 and not hands.points[-1, 1].any()  # noqa: PT018
    assert seen.sum() == 10 * 42 - 2
    assert hands.names[0] == "LEFT_HAND_LANDMARKS.P0"
    assert hands.names[21] == "RIGHT_HAND_LANDMARKS.P0"
    assert hands.limbs[0] == (0, 1)
    assert (21, 22) in hands.limbs

    arms = read_pose(tmp_path / "a.pose", layout="hands_arms")
    assert arms.points.shape == (10, 48, 3)
    assert arms.names[42:44] == ("POSE_LANDMARKS.LEFT_SHOULDER", "POSE_LANDMARKS.RIGHT_SHOULDER")
    np.testing.assert_array_equal(arms.points[:, 42:44], raw[:, 3:5])
    assert (42, 43) in arms.limbs
    assert read_pose(tmp_path / "a.pose", layout="right_hand").points.shape == (10, 21, 3)
    assert read_pose(tmp_path / "a.pose", layout="hands_body").points.shape == (10, 51, 3)
    assert read_pose(tmp_path / "a.pose", layout="all").points.shape == (10, 51, 3)
    own = PoseLayout("tips", (Part("RIGHT_HAND_LANDMARKS", ("P8", "P4")),))
    np.testing.assert_array_equal(read_pose(tmp_path / "a.pose", layout=own).points, raw[:, [38, 34]])


def test_spans_are_half_open(pose: Path) -> None:
    whole = read_pose(pose, layout="hands")
    parts = [
        read_pose(pose, layout="hands", start_seconds=a, end_seconds=b) for a, b in ((0, 0.12), (0.12, 0.3), (0.3, 9))
    ]
    assert [len(part) for part in parts] == [3, 5, 2]
    np.testing.assert_array_equal(np.concatenate([part.points for part in parts]), whole.points)
    with pytest.raises(MediaError, match=r"0\.40 s long") as caught:
        read_pose(pose, layout="hands", start_seconds=1)
    assert caught.value.kind == "empty"
    with pytest.raises(ValueError, match="start < end"):
        read_pose(pose, layout="hands", start_seconds=1, end_seconds=0.5)


def test_missing_parts_name_those_that_exist(pose: Path) -> None:
    with pytest.raises(MediaError, match=r"no component hand_left_keypoints_2d .* it has POSE_LANDMARKS \(9\)"):
        read_pose(pose, layout="openpose_hands")
    with pytest.raises(MediaError, match="no component FACE_LANDMARKS"):
        read_pose(pose, layout="hands_body_face")
    with pytest.raises(MediaError, match=r"POSE_LANDMARKS has no point LEFT_HIP .* it has NOSE, LEFT_EYE"):
        read_pose(pose, layout=PoseLayout("hips", (Part("POSE_LANDMARKS", ("LEFT_HIP",)),)))
    with pytest.raises(ValueError, match=r"layout must be one of right_hand, .* got 'feet'"):
        read_pose(pose, layout="feet")


def test_people(tmp_path: Path) -> None:
    raw = make_pose(tmp_path / "a.pose", num_people=2)
    second = read_pose(tmp_path / "a.pose", layout="right_hand", person=1)
    np.testing.assert_array_equal(second.points, raw[:, 1, 30:51])
    with pytest.raises(MediaError, match="holds 2 people"):
        read_pose(tmp_path / "a.pose", layout="right_hand", person=2)


def test_damaged_files(pose: Path, tmp_path: Path) -> None:
    data = pose.read_bytes()
    bad = tmp_path / "bad.pose"
    random = np.random.default_rng(0).bytes(5000)
    for body in (data[:100], data[: len(data) // 2], data[:-4], random, b"\0" * 3000, b"x"):
        bad.write_bytes(body)
        with pytest.raises(MediaError, match=r"bad\.pose") as caught:
            read_pose(bad, layout="hands")
        assert "\n" not in str(caught.value)
        assert len(read_pose(pose, layout="hands")) == 10  # a bad file leaves nothing behind for the next
    bad.write_bytes(b"")
    with pytest.raises(MediaError, match="empty file") as caught:
        read_pose(bad, layout="hands")
    assert caught.value.kind == "empty"
    make_pose(bad, num_frames=0)
    with pytest.raises(MediaError, match="holds no frame") as caught:
        read_pose(bad, layout="hands")
    assert caught.value.kind == "empty"
    make_pose(bad, fps=0.0)
    with pytest.raises(MediaError, match="frames per second"):
        read_pose(bad, layout="hands")
    with pytest.raises(MediaError, match="10 frames, over the limit"):
        read_pose(pose, layout="hands", limits=Limits(max_frames=5))


def test_a_header_that_lies_about_its_length(pose: Path, tmp_path: Path) -> None:
    data = bytearray(pose.read_bytes())
    with io.BytesIO() as out:
        pose_format.Pose.read(pose.read_bytes()).header.write(out)
        where = len(out.getvalue()) + 4
    assert struct.unpack("<I", data[where : where + 4]) == (10,)
    data[where : where + 4] = struct.pack("<I", 2**31)
    (tmp_path / "lie.pose").write_bytes(data)
    with pytest.raises(MediaError, match=r"lie\.pose"):
        read_pose(tmp_path / "lie.pose", layout="hands")


def test_random_damage_is_a_media_error_or_finite_numbers(pose: Path, tmp_path: Path) -> None:
    data = pose.read_bytes()
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.pose"
    for _ in range(60):
        changed = bytearray(data)
        for place in rng.integers(0, 1500, 3):
            changed[place] ^= 1 << int(rng.integers(8))
        bad.write_bytes(changed)
        try:
            frames = read_pose(bad, layout="all")
        except MediaError:
            continue
        assert np.isfinite(frames.points).all()
        assert np.isfinite(frames.confidence).all()


def test_drawing_without_opencv(pose: Path, tmp_path: Path) -> None:
    out = render_pose(pose, tmp_path / "out.mp4", size_px=(64, 128))
    info = probe(out)
    assert (info.num_frames, info.fps, info.height_px, info.width_px) == (10, 25.0, 64, 128)
    render_pose(pose, out, layout="hands", size_px=(64, 64), start_seconds=0.12, end_seconds=0.2, fit=True)
    with open_video(out) as video:
        assert len(video.frames()) == 2
    pictures = list(draw_pose(read_pose(pose, layout="hands"), size_px=(32, 64)))
    assert len(pictures) == 10
    assert pictures[0].shape == (3, 32, 64)
    assert pictures[0].dtype == np.uint8
    assert pictures[0].min() < 200 < pictures[0].max() == 255


def test_a_point_is_drawn_where_it_is(tmp_path: Path) -> None:
    make_pose(tmp_path / "a.pose")
    frames = read_pose(tmp_path / "a.pose", layout=PoseLayout("one", (Part("RIGHT_HAND_LANDMARKS", ("P3",)),)))
    for picture, point in zip(draw_pose(frames, size_px=(100, 200)), frames.points[:, 0], strict=True):
        rows, columns = np.nonzero(picture.min(axis=0) < 200)
        assert abs(rows.mean() - point[1]) < 1.5
        assert abs(columns.mean() - point[0]) < 1.5


def test_real_files(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "sign/poses"
    right = read_pose(folder / "mediapipe.pose", layout="right_hand")
    assert (len(right), right.points.shape[1:], right.fps) == (170, (21, 3), 24.0)
    assert read_pose(folder / "openpose.pose", layout="openpose_hands").points.shape == (93, 42, 2)
    phoenix = folder / "phoenix14t-25October_2010_Monday_tagesschau-17.pose"
    for name, num_joints in {"hands_body": 51, "hands_body_face": 61, "all": 543}.items():
        assert read_pose(phoenix, layout=name).points.shape == (86, num_joints, 3)
    assert probe_pose(phoenix).components["FACE_LANDMARKS"] == 468
    assert probe_pose(phoenix).duration_seconds == pytest.approx(86 / 25)
    with pytest.raises(MediaError, match=r"it has pose_keypoints_2d \(25\)"):
        read_pose(folder / "openpose.pose", layout="hands")
    assert probe(render_pose(folder / "openpose.pose", tmp_path / "o.mp4", end_seconds=1, fit=True)).num_frames == 24
    assert set(LAYOUTS) >= {"right_hand", "hands", "hands_body", "all"}


def test_a_layout_may_be_chosen_by_what_the_file_holds(pose: Path) -> None:
    seen: list[dict[str, tuple[str, ...]]] = []

    def choose(components: Mapping[str, tuple[str, ...]]) -> PoseLayout:
        seen.append(dict(components))
        return PoseLayout("wrists", (Part("POSE_LANDMARKS", ("LEFT_WRIST", "RIGHT_WRIST")),))

    assert read_pose(pose, layout=choose).names == ("POSE_LANDMARKS.LEFT_WRIST", "POSE_LANDMARKS.RIGHT_WRIST")
    assert seen[0]["POSE_LANDMARKS"] == BODY
    assert list(seen[0]) == [
        *("POSE_LANDMARKS", "LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS", "POSE_WORLD_LANDMARKS"),
    ]

    def refuse(components: Mapping[str, tuple[str, ...]]) -> PoseLayout:
        raise ValueError(f"has {len(components)} components, which is too many")

    with pytest.raises(MediaError, match=r"a\.pose: has 4 components, which is too many") as caught:
        read_pose(pose, layout=refuse)
    assert caught.value.kind == "no_stream"


@pytest.mark.parametrize("num_coords", [2, 3])
def test_what_is_written_is_read(tmp_path: Path, num_coords: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 90, (7, 5, num_coords)).astype(np.float32)
    confidence = rng.uniform(0.1, 1, (7, 5)).astype(np.float32)
    confidence[2, 3] = 0
    points[4, 1, 0] = np.inf
    write_pose(
        tmp_path / "new" / "a.pose",
        components={"A": ("x", "y"), "B": ("p", "q", "r")},
        points=points,
        confidence=confidence,
        fps=29.97,
        size_px=(90, 160),
        limbs={"B": ((0, 2),)},
    )
    found = read_pose(tmp_path / "new" / "a.pose", layout="all")
    seen = (confidence > 0) & np.isfinite(points).all(-1)
    np.testing.assert_array_equal(found.points, np.where(seen[..., None], points, 0))
    np.testing.assert_array_equal(found.confidence, np.where(seen, confidence, 0))
    assert found.names == ("A.x", "A.y", "B.p", "B.q", "B.r")
    assert (found.limbs, found.height_px, found.width_px) == (((2, 4),), 90, 160)
    assert found.fps == pytest.approx(29.97)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.pose"]


def test_writing_refuses_shapes_that_do_not_fit(tmp_path: Path) -> None:
    points, confidence = np.zeros((2, 3, 2), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"need points \(T, 2, 2 or 3\) and confidence \(T, 2\), got \(2, 3, 2\)"):
        write_pose(tmp_path / "a.pose", components={"A": ("x", "y")}, points=points, confidence=confidence, fps=25)
    with pytest.raises(ValueError, match="fps must be above 0"):
        write_pose(tmp_path / "a.pose", components={"A": ("x", "y", "z")}, points=points, confidence=confidence, fps=0)
    assert not list(tmp_path.iterdir())
