"""The page on which a mapping is reviewed: what moves on it, in which order, what it says, and the table it gives."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from signwave.manifest import Clip
from signwave.media.poses import write_pose
from signwave.media.video import write_video
from slr.crosslingual import review, review_clips
from slr.crosslingual.mapping import MappedSign, Mapping, read_mapping, to_text, write_mapping
from slr.crosslingual.review_clips import frames_of, seconds_of, typical
from slr.crosslingual.signs import Sign, Signs

HOSTILE = "</script><b>\"&'"
RIGHT_TO_LEFT = "שלום"
FPS = 25.0


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._script = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def clips(self) -> list[str]:
        return list(json.loads(self.scripts["clips"]))

    @property
    def rows(self) -> list[int]:
        return [int(str(attrs["data-row"])) for attrs in self.all("article")]

    def durations(self) -> list[list[int]]:
        """Milliseconds of every frame of every clip."""
        return [_durations(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))) for uri in self.clips]


def _durations(data: bytes) -> list[int]:
    found = []
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
        assert picture.n_frames == 1 or picture.info["loop"] == 0  # type: ignore[attr-defined]
        for place in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(place)
            picture.load()
            found.append(int(picture.info["duration"]))
    return found


def _video(path: Path, num_frames: int = 50, *, size: tuple[int, int] = (48, 64), fps: float = FPS) -> Clip:
    """A bright square that moves down by a row every frame."""
    frames = np.full((num_frames, 3, *size), 40, dtype=np.uint8)
    for number, frame in enumerate(frames):
        top = number % (size[0] - 8)
        frame[:, top : top + 8, 20:28] = 230
    write_video(path, frames, fps=fps)
    return Clip(id=path.stem, path=str(path), kind="video", person="A", num_frames=num_frames, rate_hz=fps)


def _pose(path: Path, num_frames: int = 50, *, scale: float = 1.0, shoulders: bool = True, id: str = "") -> Clip:
    """Shoulders, and a right wrist that falls, in a picture that is `scale` times as large."""
    names = ("LEFT_SHOULDER", "RIGHT_SHOULDER", "RIGHT_WRIST")
    points = np.zeros((num_frames, 3, 2), dtype=np.float32)
    points[:, 0], points[:, 1] = (140, 100), (100, 100)
    points[:, 2] = np.stack([np.full(num_frames, 90), 80 + np.arange(num_frames)], -1)
    confidence = np.ones((num_frames, 3), dtype=np.float32)
    confidence[:, :2] = shoulders
    write_pose(
        path, components={"POSE_LANDMARKS": names}, points=points * scale, confidence=confidence, fps=FPS,
        size_px=(round(200 * scale), round(240 * scale)), limbs={"POSE_LANDMARKS": ((0, 1), (1, 2))},
    )  # fmt: skip
    return Clip(id=id or path.stem, path=str(path), kind="pose", person="B", num_frames=num_frames, rate_hz=FPS)


def _row(source: str, target: str | None, *, keep: bool = True, score: float = 0.9, **values: Any) -> MappedSign:
    return MappedSign(source, target, keep, score, **values)


HEADER = {"auxiliary": "two", "target": "one", "model": "islr <1>", "rules": "method=agree, min_score=0.2"}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Mapping, Signs, Signs]:
    """A hostile gloss on videos, a plain one on poses, one that wasn't kept, one whose clips can't be read."""
    video, pose = _video(tmp_path / "video.mp4"), _pose(tmp_path / "pose.pose")
    broken = tmp_path / "broken.pose"
    broken.write_bytes(b"no pose")
    bad = Clip(id="bad<i>", path=str(broken), kind="pose", num_frames=50, rate_hz=FPS)
    gone = Clip(id="gone", path=str(tmp_path / "gone.mp4"), kind="video", num_frames=50, rate_hz=FPS)
    auxiliary = [
        *(Sign(video, HOSTILE, 0.2, 1.0), Sign(pose, "B", 0.0, 0.8), Sign(pose, "C", 0.8, 1.6)),
        *(Sign(bad, "D", 0.0, 0.8), Sign(gone, "D", 0.0, 0.8), Sign(video, "<blank>", 1.0, 1.2)),
    ]
    target = [Sign(pose, RIGHT_TO_LEFT, 0.4, 1.4), Sign(video, "Y", 0.0, None), Sign(pose, "Z", 0.0, 0.8)]
    named = {"posterior": RIGHT_TO_LEFT, "prototype": None, "transport": "Y"}
    rows = (
        _row("C", None, keep=False, score=0.95),
        _row("B", "Y", score=0.4, candidates=(("Y", 0.4), ("Z", 0.31), ("<blank>", 0.02))),
        _row(HOSTILE, RIGHT_TO_LEFT, score=0.876, margin=0.654, support=17, split_half=0.81, mutual=True, agreement=2,
             answers=named),
        _row("D", "NOWHERE", keep=False, score=float("nan")),
    )  # fmt: skip
    return Mapping(rows, HEADER), Signs("two", auxiliary, "a", "x"), Signs("one", target, "b", "y")


@pytest.fixture
def page(pair: tuple[Mapping, Signs, Signs], tmp_path: Path) -> Page:
    review.write_page(tmp_path / "review.html", *pair)
    return Page(tmp_path / "review.html")


def test_clips_move_at_the_right_tempo(page: Page) -> None:
    # B, C and the hostile gloss 0.8 s; its target 1 s, which is 12 frames of 80 ms; Y the whole clip.
    durations = page.durations()
    rest = round(1000 * review_clips.REST_SECONDS)
    assert sorted(sum(one) - rest for one in durations) == [800, 800, 800, 960, 2000]
    assert all(len(one) > 1 and set(one[:-1]) == {80} for one in durations)
    assert all(one[-1] == 80 + rest for one in durations)


def test_every_picture_is_a_clip_and_each_is_stored_once(page: Page) -> None:
    places = [int(str(image["data-clip"])) for image in page.all("img")]
    assert set(places) == set(range(len(page.clips)))
    assert len(places) == 6  # C; B, Y and Z, who is B; the hostile one and its target
    assert len(set(page.clips)) == len(page.clips) == 5
    assert all(image["loading"] == "lazy" and "src" not in image and image["alt"] for image in page.all("img"))


def test_the_surest_kept_rows_come_first(page: Page) -> None:
    assert page.rows == [2, 1, 0, 3]
    assert page.text.index("Kept") < page.text.index("Not kept")


def test_it_says_all_of_a_pair(page: Page) -> None:
    facts = ("score0.88", "margin0.65", "signs17", "halves0.81", "mutualyes")
    named = f"methods2 of 3 agree: posterior {RIGHT_TO_LEFT}, prototype none, transport Y"
    assert all(
        part in page.text for part in (*facts, named, "Other candidates: Z 0.31, <blank> 0.02", "None is named.")
    )
    assert "not known" in page.text


def test_it_says_what_it_was_made_from_and_what_it_is_not(page: Page) -> None:
    assert all(f"{key}{value}" in page.text for key, value in HEADER.items())
    assert "not meaning alike" in page.text
    assert "consent" in page.text


def test_what_cant_be_read_is_told_at_its_place(page: Page) -> None:
    told = page.text[page.text.rindex("D → NOWHERE") :]
    assert told.count("can't be shown") == page.text.count("can't be shown") == 2
    assert "no readable pose file" in told
    assert "gone.mp4: does not exist" in told
    assert "bad<i>" in told
    assert "NOWHERE, no sign of it here" in told


def test_hostile_glosses_stay_text(page: Page) -> None:
    assert f"{HOSTILE} → {RIGHT_TO_LEFT}" in page.text
    assert not page.all("b")
    assert not page.all("i")
    assert {attrs.get("id") for attrs in page.all("script")} == {"table", "clips", None}
    assert HOSTILE in [attrs["aria-label"] for attrs in page.all("article")]
    assert all(attrs["dir"] == "auto" for attrs in page.all("bdi"))
    assert "<blank>" not in [attrs["value"] for attrs in page.all("option") if "value" in attrs]


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert not page.all("link")
    assert not re.search(r"https?:|//[a-z]", page.scripts["script"].replace("// ", ""))
    for _, attrs in page.tags:
        assert not {"src", "href", "srcset", "action"} & set(attrs)
    assert "default-src 'none'" in str(page.all("meta")[1]["content"])


def test_equal_inputs_give_equal_bytes(pair: tuple[Mapping, Signs, Signs], tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        review.write_page(tmp_path / name, *pair)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_edited_table_is_read_as_edited(pair: tuple[Mapping, Signs, Signs], page: Page, tmp_path: Path) -> None:
    """What the script does: of a row, only the second and third field are written anew."""
    lines = json.loads(page.scripts["table"])
    first = next(place for place, line in enumerate(lines) if not line.startswith("#")) + 1
    out, before = tmp_path / "edited.tsv", pair[0]
    write_mapping(out, before)
    assert "\n".join(lines) + "\n" == out.read_text(encoding="utf-8") == to_text(before)
    fields = {"2": ('"new""one"""', "no"), "0": ("-", "no"), "1": ("Y", "no")}
    for row, (target, keep) in fields.items():
        cells = lines[first + int(row)].split("\t")
        lines[first + int(row)] = "\t".join([cells[0], target, keep, *cells[3:]])
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    after = read_mapping(out)
    assert [(row.target, row.keep) for row in after.rows] == [
        (None, False), ("Y", False), ('new"one"', False), ("NOWHERE", False)
    ]  # fmt: skip
    assert [row.source for row in after.rows] == [row.source for row in before.rows]
    assert after.rows[2].answers == before.rows[2].answers
    assert after.header == before.header


def test_the_controls_hold_what_the_table_holds(page: Page) -> None:
    fields = page.all("input")
    targets = [field["value"] for field in fields if field.get("list")]
    assert targets == [RIGHT_TO_LEFT, "Y", "-", "NOWHERE"]
    checked = [(field["name"], field["value"]) for field in fields if "checked" in field]
    assert checked == [("keep2", "yes"), ("keep1", "yes"), ("keep0", "no"), ("keep3", "no")]
    names = {str(attrs["id"]) for _, attrs in page.tags if "id" in attrs}
    assert set(re.findall(r'byId\("([a-z-]+)"\)', page.scripts["script"])) <= names


@pytest.mark.parametrize("cap", ["rows", "bytes"])
def test_a_page_is_capped_and_says_so(
    cap: str, pair: tuple[Mapping, Signs, Signs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MAX_ROWS" if cap == "rows" else "MAX_MIB", 1 if cap == "rows" else 1e-6)
    review.write_page(tmp_path / "review.html", *pair)
    page = Page(tmp_path / "review.html")
    assert page.rows == [2]
    assert "3 rows aren't shown" in page.text
    assert "\n".join(json.loads(page.scripts["table"])) + "\n" == to_text(pair[0])


def test_an_empty_mapping_has_a_page(tmp_path: Path) -> None:
    review.write_page(tmp_path / "review.html", Mapping(()), Signs("two", [], "a", "x"), Signs("one", [], "b", "y"))
    page = Page(tmp_path / "review.html")
    assert "0 of 0 glosses" in page.text
    assert page.clips == []


def test_long_signs_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_clips, "MAX_SECONDS", 0.8)
    monkeypatch.setattr(review, "MAX_SECONDS", 0.8)
    clip = _video(tmp_path / "long.mp4")
    mapping = Mapping((_row("A", None, keep=False),))
    review.write_page(tmp_path / "a.html", mapping, Signs("two", [Sign(clip, "A")], "a", "x"), Signs("one", [], "", ""))
    page = Page(tmp_path / "a.html")
    assert len(page.durations()[0]) == 10
    assert "A, 0.00–2.00 s, its first 0.8 s" in page.text


def _square_top(frame: np.ndarray) -> int:
    return int(np.flatnonzero(frame[0].max(1) > 150)[0])


@pytest.mark.parametrize("fps", [12.5, 25.0, 50.0])
def test_video_frames_are_those_of_the_span(fps: float, tmp_path: Path) -> None:
    """A sign counts from its clip, and the clip from its file."""
    whole = _video(tmp_path / "a.mp4", 100, size=(120, 64), fps=fps)
    clip = Clip(id="a", path=whole.path, kind="video", start_seconds=0.48, end_seconds=1.92)
    frames = frames_of(Sign(clip, "A", 0.16, 0.64))
    assert frames.shape == (6, 3, 120, 64)
    wanted = (np.arange(6) / 12.5 + 0.64) * fps
    np.testing.assert_allclose([_square_top(frame) for frame in frames], wanted, atol=1)
    assert len(frames_of(Sign(clip, "A", 0.16))) == 16


def test_large_videos_become_small(tmp_path: Path) -> None:
    wide, tall = (_video(tmp_path / f"{h}.mp4", 4, size=(h, w)) for h, w in ((360, 640), (640, 360)))
    assert frames_of(Sign(wide, "A")).shape[2:] == (162, 288)
    assert frames_of(Sign(tall, "A")).shape[2:] == (192, 108)


def test_signers_are_drawn_equally_large(tmp_path: Path) -> None:
    near, far = (_pose(tmp_path / f"{scale}.pose", scale=scale) for scale in (1.0, 3.0))
    small, large = (frames_of(Sign(clip, "A", 0.0, 0.8)).astype(np.int64) for clip in (near, far))
    assert small.shape == (10, 3, review_clips.HEIGHT_PX, review_clips.HEIGHT_PX)
    assert np.abs(small - large).mean() < 0.5
    assert (small[0] != small[-1]).any()
    unseen = frames_of(Sign(_pose(tmp_path / "wrist.pose", shoulders=False), "A", 0.0, 0.8))
    assert (unseen < 128).any(), "a hand without a body is drawn too"


def test_keypoints_stand_in_for_pictures(tmp_path: Path) -> None:
    pose = _pose(tmp_path / "a.pose")
    clip = Clip(id="a", path=str(tmp_path / "a.mp4"), kind="video", poses_path=pose.path)
    np.testing.assert_array_equal(frames_of(Sign(clip, "A", 0.2, 1.0)), frames_of(Sign(pose, "A", 0.2, 1.0)))


def test_a_whole_face_mesh_is_drawn_by_its_contours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([[[90, 150], [150, 150]], rng.uniform((100, 60), (140, 110), (468, 2))])[None]
    names = {"POSE_LANDMARKS": ("LEFT_SHOULDER", "RIGHT_SHOULDER"), "FACE_LANDMARKS": tuple(map(str, range(468)))}
    points = points.repeat(10, 0).astype(np.float32)
    write_pose(
        tmp_path / "a.pose", components=names, points=points, confidence=np.ones((10, 470), dtype=np.float32), fps=FPS
    )
    clip = Clip(id="a", path=str(tmp_path / "a.pose"), kind="pose")
    (grey,) = {int((frame < 220).all(0).sum()) for frame in frames_of(Sign(clip, "A"))}
    kept = [0, 1, *(2 + int(point) for point in review_clips._CONTOURS)]
    assert len(kept) == 130
    few = {"POSE_LANDMARKS": names["POSE_LANDMARKS"], "FACE_LANDMARKS": tuple(map(str, range(128)))}
    write_pose(
        tmp_path / "b.pose", components=few, points=points[:, kept], confidence=np.ones((10, 130), dtype=np.float32),
        fps=FPS,
    )  # fmt: skip
    (wanted,) = {
        int((frame < 220).all(0).sum())
        for frame in frames_of(Sign(Clip(id="b", path=str(tmp_path / "b.pose"), kind="pose"), "A"))
    }
    assert grey == wanted


def _sign(clip: str, person: str, start: float, end: float | None) -> Sign:
    return Sign(Clip(id=clip, path="x.pose", kind="pose", person=person), "A", start, end)


def test_typical_signs_are_of_several_people_and_of_usual_length() -> None:
    usual = [_sign(f"c{n}", "A", 0.0, 1.0 + n / 100) for n in range(5)]
    odd, other = _sign("d", "A", 0.0, 9.0), _sign("e", "B", 0.0, 1.6)
    again = _sign("c2", "A", 2.0, 3.02)
    signs = [odd, *usual, other, again]
    chosen = typical(signs, 3)
    assert chosen == typical(signs[::-1], 3)
    assert (chosen[0].clip.id, chosen[1]) == ("c2", other)
    assert chosen[2].origin not in ("c2", "e", "d")
    assert typical([odd], 3) == [odd]
    assert typical([], 3) == []


def test_signs_of_unknown_length_come_last() -> None:
    known, unknown = _sign("b", "A", 0.0, 1.0), _sign("a", "A", 0.0, None)
    assert seconds_of(unknown) is None
    assert typical([unknown, known], 1) == [known]
    assert typical([unknown], 1) == [unknown]
