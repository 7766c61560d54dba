"""Voice detection: silero's model to the last digit, in any pieces; energy as the fallback; both on real recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asr.curation import voice
from asr.curation.cutting import speech_spans
from asr.curation.settings import MeasureSettings
from asr.curation.voice import FRAME_SAMPLES, EnergyVoice, SileroVoice, load_voice_detector
from signwave.errors import ArtefactError, UserError
from signwave.media.audio import read_audio

Audio = NDArray[np.float32]


def frames_of(audio: Audio) -> Audio:
    return np.pad(audio, (0, -len(audio) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)


def in_pieces(detector: voice.VoiceDetector, frames: Audio) -> Audio:
    detector.reset()
    return np.concatenate([detector.probabilities(part) for part in np.array_split(frames, [1, 2, 2, 40, 700])])


@pytest.fixture
def silero() -> SileroVoice:
    pytest.importorskip("silero_vad", reason="needs the extra 'curation'")
    return SileroVoice.load()


def test_silero_is_the_package_s_model(silero: SileroVoice, shared_data: Path) -> None:
    package = pytest.importorskip("silero_vad")
    audio = read_audio(shared_data / "speech/silero_vad_tests/test.wav")
    frames, model = frames_of(audio), package.load_silero_vad()
    theirs = np.array([model(torch.from_numpy(frame), 16_000).item() for frame in frames])
    np.testing.assert_allclose(silero.probabilities(frames), theirs, atol=1e-5)
    np.testing.assert_allclose(in_pieces(silero, frames), theirs, atol=1e-5)
    stamps = package.get_speech_timestamps(torch.from_numpy(audio), model, speech_pad_ms=0)
    spans = speech_spans(in_pieces(silero, frames), MeasureSettings())
    assert [(s["start"], s["end"]) for s in stamps] == [(a * FRAME_SAMPLES, b * FRAME_SAMPLES) for a, b in spans]
    assert len(spans) == 19


def test_energy_is_a_tenth_percentile_of_the_past(babble: Callable[..., Audio], pause: Callable[..., Audio]) -> None:
    audio = np.concatenate([pause(2), babble(20), pause(15), babble(10, seed=1), pause(3)])
    frames = frames_of(audio)
    levels = np.maximum(10 * np.log10(np.square(frames).mean(axis=1) + 1e-12), -90)
    wanted = []
    for place, level in enumerate(levels):
        past = np.sort(levels[max(0, place - 939) : place + 1])
        floor = min(past[len(past) // 10], -45.0)
        wanted.append(1 / (1 + np.exp(-(level - floor - 12) / 2)))
    np.testing.assert_allclose(EnergyVoice().probabilities(frames), wanted, atol=1e-4)
    np.testing.assert_allclose(in_pieces(EnergyVoice(), frames), wanted, atol=1e-4)


@pytest.mark.parametrize("kind", ["silero", "energy"])
def test_real_speech_by_hand_annotation(shared_data: Path, kind: str) -> None:
    if kind == "silero":
        pytest.importorskip("silero_vad", reason="needs the extra 'curation'")
    folder = shared_data / "speech/speechbrain_samples"
    detector = load_voice_detector("silero" if kind == "silero" else "energy")
    hits = []
    for name in ("train", "dev"):
        for row in json.loads((folder / f"annotation/VAD_{name}.json").read_text()).values():
            path = folder / "VAD" / Path(row["wav"]["file"]).name
            start = row["wav"]["start"] / 16_000
            audio = read_audio(path, start_seconds=start, end_seconds=start + row["length"] / 16_000)
            times = [float(word) for word in row["speech"].split()]
            truth = np.zeros(row["length"], dtype=bool)
            for begin, end in zip(times[::2], times[1::2]):
                truth[round(begin * 16_000) : round(end * 16_000)] = True
            detector.reset()
            is_speech = np.repeat(detector.probabilities(frames_of(audio)) >= 0.5, FRAME_SAMPLES)[: len(truth)]
            hits.append((is_speech == truth[: len(is_speech)]).mean())
    assert len(hits) >= 3
    assert np.mean(hits) > (0.8 if kind == "silero" else 0.65)


@pytest.mark.parametrize("kind", ["silero", "energy"])
def test_silence_noise_and_nothing(kind: str, pause: Callable[..., Audio]) -> None:
    if kind == "silero":
        pytest.importorskip("silero_vad", reason="needs the extra 'curation'")
    detector = load_voice_detector("silero" if kind == "silero" else "energy")
    assert detector.probabilities(np.zeros((0, FRAME_SAMPLES), np.float32)).shape == (0,)
    for audio in (np.zeros(32_000, np.float32), pause(2.0)):
        detector.reset()
        assert detector.probabilities(frames_of(audio)).max() < 0.5


def test_without_the_package_auto_is_energy_and_silero_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice.importlib.util, "find_spec", lambda _: None)
    assert voice.resolved_kind("auto") == "energy"
    assert isinstance(load_voice_detector("auto"), EnergyVoice)
    with pytest.raises(UserError, match=r"pip install 'signwave\[curation\]'"):
        load_voice_detector("silero")


def test_another_model_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "silero_vad/data").mkdir(parents=True)
    (tmp_path / "silero_vad/__init__.py").write_text("")
    monkeypatch.setattr(
        voice.importlib.util,
        "find_spec",
        lambda _: type("Spec", (), {"origin": str(tmp_path / "silero_vad/__init__.py")}),
    )
    for content in (None, b"not a model"):
        if content:
            (tmp_path / "silero_vad/data/silero_vad.jit").write_bytes(content)
        with pytest.raises(ArtefactError, match=r"silero-vad 6\.2"):
            load_voice_detector("silero")
