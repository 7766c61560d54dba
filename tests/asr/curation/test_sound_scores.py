"""Scores of a segment move with what was done to it, and stay finite for anything."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from asr.curation.sound_scores import SoundScores, bandwidth_hz, clipped_share, sound_scores
from asr.curation.voice import FRAME_SAMPLES
from signwave.media.audio import read_audio

Audio = NDArray[np.float32]


def scores(audio: Audio, probabilities: Audio | None = None) -> SoundScores:
    num = -(-len(audio) // FRAME_SAMPLES)
    speech = np.ones(num, np.float32) if probabilities is None else probabilities
    return sound_scores(audio, speech, audio, threshold=0.5)


@pytest.mark.parametrize("snr_db", [0, 10, 20])
def test_signal_to_noise_is_about_what_was_mixed(snr_db: int, shared_data: Path) -> None:
    from asr.curation.voice import EnergyVoice

    errors = []
    for path in sorted((shared_data / "speech/speechbrain_samples/ASR").glob("*.wav"))[:8]:
        clean = read_audio(path)
        clean = np.concatenate([np.zeros(16_000, np.float32), clean, np.zeros(16_000, np.float32)])
        frames = clean[: len(clean) // 512 * 512].reshape(-1, 512)
        speech = EnergyVoice().probabilities(frames)
        power = np.square(frames[speech >= 0.5]).mean()
        noise = np.random.default_rng(0).standard_normal(len(clean)) * np.sqrt(power / 10 ** (snr_db / 10))
        noisy = (clean + noise).astype(np.float32)
        errors.append(sound_scores(noisy, speech, noisy, threshold=0.5).snr_db - snr_db)
    assert abs(np.mean(errors)) < 1.0
    assert np.max(np.abs(errors)) < 2.5


def test_level_and_share_by_hand() -> None:
    audio = np.concatenate([np.zeros(5 * 512), np.tile([0.5, -0.5], 5 * 256)]).astype(np.float32)
    found = scores(audio, np.array([0] * 5 + [1] * 5, dtype=np.float32))
    assert found.level_dbfs == pytest.approx(-6.02, abs=0.01)
    assert found.crest_db == pytest.approx(0.0, abs=0.01)
    assert (found.peak, found.speech_share, found.voice) == (0.5, 0.5, 0.5)
    assert found.snr_db == 60.0


def test_telephone_sound_is_narrow(babble: Callable[..., Audio], shared_data: Path) -> None:
    wide = read_audio(shared_data / "speech/speechbrain_samples/ASR/spk1_snt1.wav")
    narrow = soxr.resample(soxr.resample(wide, 16_000, 8_000), 8_000, 16_000).astype(np.float32)
    assert scores(wide).bandwidth_hz > 7_000
    assert 3_400 < scores(narrow).bandwidth_hz < 4_100
    assert bandwidth_hz(np.zeros((0, 512), np.float32)) == 0.0


def real_unclipped(shared_data: Path) -> list[Audio]:
    folder = shared_data / "speech/speechbrain_samples/ASR"
    return [read_audio(path) for path in sorted(folder.glob("*.wav"))]


def by_way_of(kind: str, audio: Audio) -> Audio:
    if kind == "44.1 kHz":
        return soxr.resample(soxr.resample(audio, 16_000, 44_100), 44_100, 16_000).astype(np.float32)
    if kind == "mp3":
        buffer = io.BytesIO()
        soundfile.write(buffer, 0.7 * audio, 16_000, format="MP3")
        buffer.seek(0)
        return np.asarray(soundfile.read(buffer, dtype="float32")[0])
    return audio if kind == "as it is" else 0.3 * audio


@pytest.mark.parametrize("kind", ["as it is", "quieter", "44.1 kHz", "mp3"])
def test_clipping_is_seen_also_after_resampling_and_scaling(shared_data: Path, kind: str) -> None:
    clean = real_unclipped(shared_data)
    assert np.median([clipped_share(by_way_of(kind, audio)) for audio in clean]) < 0.0003
    clipped = []
    for audio in clean:
        level = np.quantile(np.abs(audio), 0.995)
        clipped.append(by_way_of(kind, (np.clip(audio, -level, level) / level).astype(np.float32)))
    assert np.median([clipped_share(audio) for audio in clipped]) > 0.001


def test_what_is_clipped_through_and_through_has_no_crest(shared_data: Path) -> None:
    for audio in real_unclipped(shared_data):
        assert scores(audio).crest_db > 10
        hard = np.clip(30 * audio / np.abs(audio).max(), -1, 1).astype(np.float32)
        resampled = by_way_of("44.1 kHz", hard)
        assert scores(resampled, (np.abs(hard).reshape(1, -1)[0][::512] > 0).astype(np.float32)).crest_db < 9


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(100), np.zeros(4000), np.ones(4000), np.full(600, 1e-9)])
def test_every_score_is_finite(audio: NDArray[np.float64]) -> None:
    found = scores(audio.astype(np.float32))
    assert np.isfinite(found).all()
    assert -120 <= found.level_dbfs <= 0.01
    assert -20 <= found.snr_db <= 60
