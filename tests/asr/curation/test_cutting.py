"""Speech is cut at pauses, at any length, whatever pieces the audio comes in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.curation import cutting
from asr.curation.cutting import blocks, segments, speech_spans
from asr.curation.settings import MeasureSettings
from asr.curation.voice import FRAME_SAMPLES, FRAME_SECONDS

Floats = NDArray[np.float32]


def walk(seed: int, num_frames: int, *, speech: int = 60, silence: int = 30) -> Floats:
    """Probabilities that stay high or low for a while, with some dips."""
    rng = np.random.default_rng(seed)
    parts: list[Floats] = []
    while sum(map(len, parts)) < num_frames:
        parts.append(rng.uniform(0.3, 1.0, rng.integers(1, 2 * speech)).astype(np.float32))
        parts.append(rng.uniform(0.0, 0.45, rng.integers(1, 2 * silence)).astype(np.float32))
    return np.concatenate(parts)[:num_frames]


class Replay:
    """A detector that says what was written down beforehand."""

    def __init__(self, probabilities: Floats) -> None:
        self.all = probabilities
        self.at = 0

    def reset(self) -> None:
        self.at = 0

    def probabilities(self, frames: Floats) -> Floats:
        assert frames.shape[1] == FRAME_SAMPLES or not len(frames)
        self.at += len(frames)
        return self.all[self.at - len(frames) : self.at]


@given(st.integers(0, 10_000), st.floats(0.2, 0.9), st.sampled_from([0.0, 0.1, 0.25, 0.6]))
@settings(max_examples=60, deadline=None)
def test_spans_are_those_of_a_plain_state_machine(seed: int, threshold: float, shortest: float) -> None:
    probabilities = walk(seed, 400, speech=12, silence=6)
    chosen = MeasureSettings(voice_threshold=threshold, min_speech_seconds=shortest)
    state: list[bool] = []
    for frame, probability in enumerate(probabilities):
        on = bool(state and state[-1])
        # a frame is off only if it begins a stretch under the lower threshold of at least four frames (0.1 s)
        if probability >= threshold:
            on = True
        elif on and probability < max(threshold - 0.15, 0.01):
            ahead = probabilities[frame:]
            back = np.flatnonzero(ahead >= threshold)
            stretch = ahead[: back[0]] if len(back) else ahead
            lows = np.flatnonzero(stretch < max(threshold - 0.15, 0.01))
            on = not any(place * FRAME_SECONDS >= 0.1 for place in lows)
        state.append(on)
    edges = np.flatnonzero(np.diff(np.array(state, dtype=int), prepend=0, append=0))
    wanted = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2]) if (b - a) * FRAME_SECONDS > shortest]
    assert speech_spans(probabilities, chosen) == wanted


def test_spans_are_silero_s_own() -> None:
    silero = pytest.importorskip("silero_vad", reason="needs the extra 'curation'")
    for seed in range(30):
        probabilities = walk(seed, 600, speech=15, silence=8)
        theirs = silero.get_speech_timestamps_from_probs(probabilities.tolist(), speech_pad_ms=0)
        ours = speech_spans(probabilities, MeasureSettings())
        assert ours == [(s["start"] // FRAME_SAMPLES, s["end"] // FRAME_SAMPLES) for s in theirs]


@given(st.integers(0, 10_000), st.sampled_from([(2.0, 30.0), (1.0, 5.0), (2.0, 4.0)]), st.floats(0.3, 3.0))
@settings(max_examples=80, deadline=None)
def test_segments_hold_all_speech_in_pieces_of_the_wanted_length(
    seed: int, lengths: tuple[float, float], long_pause: float
) -> None:
    chosen = MeasureSettings(min_seconds=lengths[0], max_seconds=lengths[1], pause_seconds=long_pause)
    probabilities = walk(seed, 3000, speech=100, silence=20)
    found, speech = segments(probabilities, chosen), speech_spans(probabilities, chosen)
    is_speech, is_held = np.zeros(3000, dtype=bool), np.zeros(3000, dtype=bool)
    for start, end in speech:
        is_speech[start:end] = True
    for (_, before), (after, _) in itertools.pairwise(found):
        assert before <= after
    for start, end in found:
        assert 0 <= start < end <= 3000
        assert (end - start) * FRAME_SECONDS <= lengths[1] + 2 * FRAME_SECONDS
        is_held[start:end] = True
        runs = np.diff(np.flatnonzero(is_speech[start:end]))
        assert (runs - 1 < round(long_pause / FRAME_SECONDS)).all()  # a long pause never lies inside
    assert is_held[is_speech].all()


def test_the_cut_is_in_the_longest_late_pause_and_else_where_speech_is_least_likely() -> None:
    chosen = MeasureSettings(max_seconds=10.0, pad_seconds=0.0)
    probabilities = np.full(400, 0.9, dtype=np.float32)
    probabilities[40:60] = 0.0  # the longest, too early
    probabilities[200:206] = 0.0
    probabilities[250:260] = 0.0
    assert segments(probabilities, chosen) == [(0, 250), (260, 400)]
    probabilities[:] = 0.9
    probabilities[222] = 0.6
    assert segments(probabilities, chosen) == [(0, 222), (222, 400)]


def test_padding_ends_in_the_middle_of_a_pause_and_of_the_recording() -> None:
    chosen = MeasureSettings(min_silence_seconds=0.1, pause_seconds=0.1, pad_seconds=1.0, min_speech_seconds=0)
    probabilities = np.zeros(40, dtype=np.float32)
    probabilities[2:12] = probabilities[18:30] = 1.0
    assert segments(probabilities, chosen) == [(0, 15), (15, 40)]
    assert segments(probabilities[:0], chosen) == segments(np.zeros(9, np.float32), chosen) == []


@pytest.mark.parametrize("chunk", [700, 16_000, 333_333])
def test_blocks_give_what_the_entire_recording_gives(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(cutting, "BLOCK_SECONDS", 20.0)
    chosen = MeasureSettings(pause_seconds=1.0)
    probabilities = walk(3, 6000, speech=40, silence=25)
    audio = np.arange(6000 * FRAME_SAMPLES - 100, dtype=np.float32)
    pieces = [audio[at : at + chunk] for at in range(0, len(audio), chunk)]
    found, samples = [], []
    for block in blocks(iter(pieces), Replay(probabilities), chosen):
        assert len(block.probabilities) == -(-len(block.samples) // FRAME_SAMPLES)
        assert block.samples[0] == block.start_frame * FRAME_SAMPLES
        found += [
            (block.start_frame + start, block.start_frame + end) for start, end in segments(block.probabilities, chosen)
        ]
        samples.append(block.samples)
    assert len(samples) > 5
    np.testing.assert_array_equal(np.concatenate(samples), audio)
    assert found == segments(probabilities, chosen)


def test_speech_without_any_pause_and_silence_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "BLOCK_SECONDS", 5.0)
    monkeypatch.setattr(cutting, "MAX_BLOCK_SECONDS", 10.0)
    for level in (0.9, 0.0):
        probabilities = np.full(3000, level, dtype=np.float32)
        audio = np.zeros(3000 * FRAME_SAMPLES, dtype=np.float32)
        found = list(blocks(np.split(audio, 100), Replay(probabilities), MeasureSettings()))
        assert sum(len(block.probabilities) for block in found) == 3000
        assert max(len(block.samples) for block in found) <= 12 * 16_000


@pytest.mark.parametrize("given", [{"min_seconds": 20.0}, {"voice_threshold": 1.0}, {"pause_seconds": 0.01}])
def test_impossible_settings_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        MeasureSettings(**given)  # type: ignore[arg-type]
