"""The picture of a recognition: what is drawn where, for videos and poses, and what there is to see when nothing is."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signwave.media.video import write_video
from signwave.transcript import Segment, Transcript, Word
from slr import picture
from slr.decoded import Posteriors
from slr.infer import Recognizer

sys.path.insert(0, str(Path(__file__).parent))
TINY = importlib.import_module("tiny_signs")
TOKENS = ("<blank>", "A", "B", "C")


def seen(path: Path, num_steps: int = 25) -> Posteriors:
    probabilities = np.full((num_steps, 4), 0.05, dtype=np.float32)
    probabilities[:, 0] = 0.85
    probabilities[5:8] = [0.05, 0.05, 0.85, 0.05]
    return Posteriors(probabilities, -0.08, 0.16, str(path))


def told(path: Path, *words: Word, seconds: float = 4.0) -> Transcript:
    return Transcript(file=str(path), segments=(Segment(words),) if words else (), duration_seconds=seconds)


def test_glosses_times_and_posteriors_are_where_they_belong(tmp_path: Path) -> None:
    clip = TINY.write_moving(tmp_path / "clip.mp4", 100)
    word = Word("B", 0.72, 1.2, 0.85)
    figure = picture.figure_of(told(clip, word), seen(clip), TOKENS)
    strip, glosses, heat = figure.axes
    assert len(strip.images) == 10
    assert [text.get_text() for text in glosses.texts] == ["B 0.72–1.20 s"]
    assert list(glosses.lines[0].get_xdata()) == [0.72, 1.2]
    assert [label.get_text() for label in heat.get_yticklabels()] == ["B", "A", "C", "<blank>"]
    (image,) = heat.images
    assert image.get_extent()[:2] == pytest.approx([-0.08, 3.92])
    np.testing.assert_array_equal(image.get_array()[0].argmax(), 5)
    assert strip.get_xlim() == glosses.get_xlim() == heat.get_xlim()


def test_thumbnails_keep_their_shape(tmp_path: Path) -> None:
    """Seconds and heights on paper: about 0.9 inches high and 11 wide."""
    for size in ((32, 96), (96, 32)):
        frames = np.zeros((30, 3, *size), dtype=np.uint8)
        clip = write_video(tmp_path / f"{size[0]}.mp4", frames, fps=25)
        figure = picture.figure_of(told(clip, seconds=1.2), seen(clip, 8), TOKENS)
        left, right, low, high = figure.axes[0].images[0].get_extent()
        seconds = np.diff(figure.axes[0].get_xlim())[0]
        shape = (high - low) * 0.9 / ((right - left) / seconds * 11)
        assert shape == pytest.approx(size[0] / size[1], rel=0.05)


def test_thumbnails_show_their_moment(tmp_path: Path, write_pose) -> None:
    clip = TINY.write_moving(tmp_path / "clip.mp4", 100)
    shown = picture.thumbnails(str(clip), np.asarray([0.5, 2.0, 99.0]))
    frames = TINY.moving(100)[[12, 50, 99]].transpose(0, 2, 3, 1)
    assert shown.shape[0] == 3
    assert min(shown.shape[1:3]) == 96
    for small, frame in zip(shown, frames, strict=True):
        assert np.abs(small.mean((0, 1)) - frame.mean((0, 1))).max() < 12
    pose = write_pose(tmp_path / "a.pose", [1, 2])
    drawn = picture.thumbnails(str(pose), np.asarray([0.1, 0.6, 99.0]))
    assert drawn.shape == (3, 192, 192, 3)
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(drawn[1], drawn[2])


def test_a_long_clip_goes_on_in_the_next_row(tmp_path: Path) -> None:
    clip = TINY.write_moving(tmp_path / "clip.mp4", 100)
    words = (Word("A", 1.0, 2.0, 0.5), Word("B", 11.9, 12.3, 0.5), Word("C", 30.0, 30.5, 0.5))
    figure = picture.figure_of(told(clip, *words, seconds=200.0), seen(clip, 200), TOKENS)
    assert len(figure.axes) == 9
    texts = [[text.get_text()[0] for text in axes.texts] for axes in figure.axes[1::3]]
    assert texts == [["A", "B"], ["B"], ["C"]]
    assert "the first 32 s of" in figure.get_suptitle()


def test_equal_clips_give_equal_bytes_and_nothing_is_said_to_be_nothing(tmp_path: Path, write_pose) -> None:
    clip = TINY.write_moving(tmp_path / "clip.mp4", 30)
    recognizer = Recognizer.load(TINY.save_tiny(tmp_path / "run"), device="cpu", keep_posteriors=True)
    first, second = (recognizer.picture(recognizer(clip)) for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).size[0] > 1000
    empty = Transcript(file="a.pose", status="empty", warnings=("no hand is seen",))
    assert "no hand is seen" in picture.figure_of(empty, None, TOKENS).get_suptitle()


def test_a_clip_that_is_gone_costs_the_thumbnails_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = tmp_path / "gone.mp4"
    figure = picture.figure_of(told(gone, Word("B", 0.72, 1.2, 0.85)), seen(gone), TOKENS)
    assert not figure.axes[0].images
    assert len(figure.axes[2].images) == 1
    assert "no thumbnails" in caplog.text


def test_only_the_first_minutes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slr.infer.PICTURE_SECONDS", 2.0)
    recognizer = Recognizer.load(TINY.save_tiny(tmp_path / "run"), device="cpu", keep_posteriors=True)
    recognizer(TINY.write_moving(tmp_path / "clip.mp4", 200))
    assert len(recognizer.last.probabilities) == 12
    recognizer.keep_posteriors = False
    recognizer(tmp_path / "clip.mp4")
    assert recognizer.last is None
