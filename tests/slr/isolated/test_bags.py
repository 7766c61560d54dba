"""Bags of windows: which frames they show, what is drawn how often, and what happens to clips that can't be read."""

from __future__ import annotations

import logging
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from signwave.errors import MediaError, UserError
from signwave.manifest import Clip
from signwave.media.video import write_video
from signwave.sampling import Draw
from slr.crosslingual.signs import Sign
from slr.isolated.bags import (
    BagBatch,
    Balance,
    Dictionary,
    EvaluationBags,
    TrainBags,
    Windows,
    sign_weights,
    spread,
)
from slr.models.interface import Reads
from slr.reading import Needs, Reading

RATE_HZ = 25.0


def _clip(name: str = "c", num_frames: int = 40, **values: object) -> Clip:
    return Clip(id=name, path=f"{name}.mp4", kind="video", num_frames=num_frames, rate_hz=RATE_HZ, **values)  # type: ignore[arg-type]


def _read(clip: Clip, start_seconds: float, end_seconds: float | None) -> Reading:
    """(T, 1) float32, the numbers of the frames; "bad" can't be read."""
    if clip.id.startswith("bad"):
        raise MediaError(clip.path, "broken")
    last = clip.num_frames if end_seconds is None else round(end_seconds * RATE_HZ)
    numbers = np.arange(round(start_seconds * RATE_HZ), last, dtype=np.float32)
    return Reading(numbers[:, None], None, len(numbers) / RATE_HZ)


def _windows(size: int = 16, reads: Reads = "keypoints") -> Windows:
    size_px = (8, 8) if "frames" in reads else None
    return Windows(Needs(reads, RATE_HZ, size_px), window_frames=size, read_clip=_read)


def _expected(centres: NDArray[np.float64], size: int, tempo: float, num_frames: int) -> list[list[int]]:
    rows = []
    for centre in centres:
        places = [math.floor(centre + (j - (size - 1) / 2) * tempo + 0.5) for j in range(size)]
        rows.append([min(max(place, 0), num_frames - 1) for place in places])
    return rows


@pytest.mark.parametrize("reads", ["keypoints", "frames"])
@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("tempo", [1.0, 0.8, 1.25])
def test_windows_are_those_of_a_loop(reads: Reads, size: int, tempo: float) -> None:
    rng = np.random.default_rng(0)
    for start, end in ((0, 6), (3, 20), (30, 40), (0, 40), (39, 40)):
        sign = Sign(_clip(), "A", start / RATE_HZ, end / RATE_HZ)
        centres = np.sort(rng.uniform(start - 0.5, end - 0.5, 4))
        windows = _windows(size, reads)
        found = windows(sign, centres, tempo=tempo).inputs.reshape(4, size)
        assert found.tolist() == _expected(centres, size, tempo, 40), "beyond the ends the first and last frame repeat"
        inside = windows.frames(sign, centres, tempo=tempo)
        for row, centre in enumerate(centres):
            for j in range(size):
                frame = math.floor(centre + (j - (size - 1) / 2) * tempo + 0.5)
                assert inside[row, j] == (start <= frame < end)


def test_a_window_about_a_whole_frame_shows_each_frame_once() -> None:
    """Half frames must all be rounded the same way: to even numbers they'd come twice and every other not at all."""
    found = _windows(16)(Sign(_clip(), "A"), np.array([19.0, 20.0])).inputs.reshape(2, 16)
    assert (np.diff(found, axis=1) == 1).all()
    assert found[:, 0].tolist() == [12, 13]


def test_windows_of_evaluation_are_spread_evenly() -> None:
    assert spread(10, 16, num=3).tolist() == [10.5, 12.5, 14.5]
    assert spread(4, 5, num=1).tolist() == [4.0]


def test_span_of_a_sign() -> None:
    windows = _windows()
    assert windows.span_of(Sign(_clip(), "A")) == (0, 40)
    assert windows.span_of(Sign(_clip(), "A", 0.4, 0.8)) == (10, 20)
    assert windows.span_of(Sign(_clip(), "A", 1.5, 9.0)) == (38, 40), "not past the end"
    assert windows.span_of(Sign(_clip(), "A", 0.4, 0.41)) == (10, 11), "at least a frame"
    cut = Clip(id="x", path="x", kind="video", start_seconds=2.0, end_seconds=3.0)
    assert windows.span_of(Sign(cut, "A", 0.2)) == (5, 25)
    with pytest.raises(MediaError, match=r"x\.mp4: has no length in its manifest"):
        windows.span_of(Sign(Clip(id="x", path="x.mp4", kind="video"), "A"))


def test_clips_of_one_name_are_not_mixed_up() -> None:
    """Ids are unique within a split of one corpus only."""

    def read(clip: Clip, start_seconds: float, end_seconds: float | None) -> Reading:
        return Reading(np.full((40, 1), len(clip.path), np.float32), None, 1.6)

    windows = Windows(Needs("keypoints", RATE_HZ), window_frames=2, read_clip=read)
    values = {path: Clip(id="1", path=path, kind="pose", num_frames=40, rate_hz=RATE_HZ) for path in ("a", "bbb")}
    for path, clip in values.items():
        assert windows(Sign(clip, "A"), np.array([3.0])).inputs[0, 0] == len(path)


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_frames_of_a_video_are_the_right_ones(tmp_path: Path, fps: float) -> None:
    """A clip is a span of a longer video, whose frames say by their grey when they are shown."""
    greys = np.arange(60, dtype=np.uint8)[:, None, None, None] * 4
    path = write_video(tmp_path / "a.mp4", np.broadcast_to(greys, (60, 3, 16, 16)), fps=fps, crf=0)
    start, end = 15 / fps, 45 / fps
    clip = Clip(id="a", path=str(path), kind="video", start_seconds=start, end_seconds=end)
    windows = Windows(Needs("frames", RATE_HZ, (16, 16)), window_frames=8)
    size = round((end - start) * RATE_HZ)
    for centre in (0.0, 0.4, 6.0, 11.3, size - 1.0):
        found = windows(Sign(clip, "A"), np.array([centre])).inputs.astype(np.float64).mean((1, 2, 3)) / 4
        (expected,) = _expected(np.array([centre]), 8, 1.0, size)
        shown = 15 + np.array(expected) * fps / RATE_HZ
        assert np.abs(found - shown).max() < (0.6 if fps == RATE_HZ else 1.6)
        assert 14.4 < found.min() <= found.max() < 44.6, "never beyond the clip"


def test_two_streams_need_keypoints(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", np.zeros((12, 3, 16, 16), dtype=np.uint8), fps=RATE_HZ)
    clip = Clip(id="a", path=str(path), kind="video", num_frames=12, rate_hz=RATE_HZ)
    windows = Windows(Needs("frames+keypoints", RATE_HZ, (16, 16)), window_frames=4)
    with pytest.raises(MediaError, match="has no keypoints beside it, and two streams need them"):
        windows(Sign(clip, "A"), np.array([3.0]))
    frames = Windows(Needs("frames", RATE_HZ, (16, 16)), window_frames=4)
    assert frames(Sign(clip, "A"), np.array([11.0])).inputs.shape == (4, 3, 16, 16)


def test_weights_are_the_formula() -> None:
    labels = [1] * 16 + [2] * 4 + [0]
    counts = Counter(labels)
    powers: dict[Balance, float] = {"natural": 1.0, "square_root": 0.5, "class": 0.0}
    for balance, power in powers.items():
        weights = sign_weights(labels, balance)
        total = sum(size**power for size in counts.values())
        for label, size in counts.items():
            own = [weight for weight, one in zip(weights, labels, strict=True) if one == label]
            assert own == pytest.approx([size**power / total / size] * size), balance


def _dictionary(name: str, labels: list[int], **values: object) -> Dictionary:
    clips = [_clip(f"{name}{number}", **values) for number in range(len(labels))]
    glosses = ("<blank>", *(f"G{number}" for number in range(1, max(labels) + 1)))
    return Dictionary(
        name, [Sign(clip, glosses[label]) for clip, label in zip(clips, labels, strict=True)], labels, glosses
    )


def test_draws_follow_the_weights() -> None:
    labels = [1] * 25 + [2] * 4 + [0]
    bags = TrainBags([_dictionary("a", labels)], _windows(1), num_bags=50, num_instances=1, balance="square_root")
    drawn = Counter(label for seed in range(40) for label in bags[Draw(0, seed)].labels.tolist())
    size = sum(drawn.values())
    assert size == 2000
    for label, share in {1: 5 / 8, 2: 2 / 8, 0: 1 / 8}.items():
        assert abs(drawn[label] / size - share) < 4 * math.sqrt(share * (1 - share) / size)


def _same(one: BagBatch, two: BagBatch) -> bool:
    assert one.chances is not None
    assert two.chances is not None
    pairs = [(one.inputs, two.inputs), (one.foreground, two.foreground), (one.chances, two.chances)]
    return one.places == two.places and all(np.array_equal(first, second) for first, second in pairs)


def test_a_batch_is_of_one_language_and_comes_from_its_draw() -> None:
    dictionaries = [_dictionary("a", [1, 1, 2, 2, 0]), _dictionary("b", [1, 2])]

    def make() -> TrainBags:
        return TrainBags(dictionaries, _windows(4), num_bags=3, num_instances=2)

    bags = make()
    assert len(bags) == 3, "as many bags in an epoch as there are signs"
    assert bags.lengths == [3 * 2 * 4] * 3
    for index in range(4):
        batch = bags[Draw(index, 7 + index)]
        assert batch.language == "ab"[index % 2]
        assert batch.inputs.shape == (3, 2, 4, 1)
        assert batch.foreground.shape == (3, 2, 4)
        assert batch.num_frames.tolist() == [4] * 6
        dictionary = dictionaries[index % 2]
        assert batch.labels.tolist() == [dictionary.labels[place] for place in batch.places]
        assert _same(batch, make()[Draw(index, 7 + index)]), "whatever was drawn before"
        assert not _same(batch, bags[Draw(index, 8 + index)])


def test_tempo_changes_within_its_bounds() -> None:
    dictionary = Dictionary("a", [Sign(_clip("long", 400), "A", 4.0, 12.0)], [1], ("<blank>", "A"))

    def widths(tempo: float) -> list[float]:
        bags = TrainBags([dictionary], _windows(16), num_bags=1, num_instances=1, tempo=tempo)
        return [float(np.ptp(bags[Draw(0, seed)].inputs.numpy())) for seed in range(60)]

    found = widths(1.25)
    assert 15 / 1.25 - 1 <= min(found) < 13
    assert 17 < max(found) <= 15 * 1.25 + 1
    assert set(widths(1.0)) == {15.0}


def test_another_sign_is_drawn_for_one_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    good = _dictionary("a", [1, 1, 2])
    signs = [*good.signs, Sign(_clip("bad"), "G1"), Sign(Clip(id="long", path="x", kind="video"), "G1")]
    dictionary = Dictionary("a", signs, [*good.labels, 1, 1], good.glosses)
    bags = TrainBags([dictionary], _windows(2), num_bags=4, num_instances=1)
    with caplog.at_level(logging.WARNING):
        drawn = {place for seed in range(20) for place in bags[Draw(0, seed)].places}
    assert drawn == {0, 1, 2}
    told = [record.getMessage() for record in caplog.records]
    assert sorted(told) == [
        "clip 'bad' of a left out: bad.mp4: broken",
        "clip 'long' of a left out: x: has no length in its manifest; prepare the corpus again",
    ], "each once"
    nothing = TrainBags([Dictionary("a", signs[3:4], [1], good.glosses)], _windows(2))
    with pytest.raises(
        UserError, match=r"none of 8 signs of a that were drawn can be read; the last: bad\.mp4: broken"
    ):
        nothing[Draw(0, 0)]


def test_evaluation_sees_every_sign_once_and_in_order(caplog: pytest.LogCaptureFixture) -> None:
    first, second = _dictionary("a", [1, 2, 1, 1, 2]), _dictionary("b", [1])
    signs = [*first.signs[:2], Sign(_clip("bad"), "G1"), *first.signs[3:]]
    first = Dictionary("a", signs, first.labels, first.glosses)
    bags = EvaluationBags([first, second], _windows(4), num_bags=2, num_instances=3)
    assert len(bags) == 4
    assert bags.lengths == [2 * 12, 2 * 12, 12, 12]
    with caplog.at_level(logging.WARNING):
        batches = [bags[Draw(index, 0)] for _ in range(2) for index in range(4)]
    assert [(batch.language, batch.places) for batch in batches[:4]] == [
        ("a", (0, 1)), ("a", (3,)), ("a", (4,)), ("b", (0,)),
    ]  # fmt: skip
    assert len(caplog.records) == 1
    assert batches[0].chances is None, "nothing is augmented"
    assert _expected(spread(0, 40, num=3), 4, 1.0, 40) == batches[0].inputs[0, ..., 0].tolist()
    broken = EvaluationBags([Dictionary("a", signs[2:3], [1], first.glosses)], _windows(4))
    with pytest.raises(UserError, match=r"none of 1 signs of a can be read; the last: bad\.mp4: broken"):
        broken[Draw(0, 0)]


@pytest.mark.parametrize("size", [1, 4, 16])
@pytest.mark.parametrize(("start", "end"), [(10, 26), (10, 32), (3, 9), (0, 40), (39, 40), (36, 40)])
def test_windows_inside_a_sign_show_nothing_else(size: int, start: int, end: int) -> None:
    """As CiCo crops: any whole window of the span; where the span is shorter, the one about its middle."""
    windows = Windows(Needs("keypoints", RATE_HZ), window_frames=size, inside=True, read_clip=_read)
    sign = Sign(_clip(num_frames=40), "A", start / RATE_HZ, end / RATE_HZ)
    bags = TrainBags([Dictionary("d", [sign], [1], ("", "A"))], windows, num_bags=1, num_instances=200, tempo=1.0)
    batch = bags[Draw(0, 7)]
    firsts = Counter(int(first) for first in batch.inputs[0, :, 0, 0])
    if end - start >= size:
        assert batch.foreground.all()
        assert set(firsts) == set(range(start, end - size + 1)), "every place is drawn"
    else:
        assert len(firsts) == 1
        assert batch.foreground[0, 0].sum() == end - start, "the whole span is seen"
    held = EvaluationBags([], windows, num_instances=3).bag(sign, 1, 0)
    assert held.foreground.sum() == 3 * min(size, end - start)


def test_windows_inside_follow_the_tempo() -> None:
    windows = Windows(Needs("keypoints", RATE_HZ), window_frames=9, inside=True, read_clip=_read)
    sign = Sign(_clip(num_frames=40), "A", 10 / RATE_HZ, 32 / RATE_HZ)
    for tempo in (0.5, 1.0, 2.0):
        for centre in windows.room(sign, tempo=tempo):
            shown = windows(sign, np.array([centre + 1e-9 * (21 - centre)]), tempo=tempo).inputs.ravel()
            assert (shown.min(), shown.max()) == pytest.approx((shown[0], shown[-1]))
            assert 10 <= shown.min() <= shown.max() < 32
    assert windows.room(sign, tempo=4.0) == (20.5, 20.5)
    plain = Windows(Needs("keypoints", RATE_HZ), window_frames=9, read_clip=_read)
    assert plain.room(sign, tempo=2.0) == (9.5, 31.5)
