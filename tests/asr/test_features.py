"""Features: the same numbers as transformers' extractors, lengths known without the audio."""

import json

import numpy as np
import pytest
import torch

from asr.features import FeatureSettings, extract, log_mel
from signwave.errors import ArtefactError

KINDS = [FeatureSettings("waveform"), FeatureSettings("log_mel", 80), FeatureSettings("stacked_fbank", 80)]


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(size).normal(scale=0.1, size=size).astype(np.float32)


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: s.kind)
@pytest.mark.parametrize("size", [0, 1, 200, 399, 400, 401, 719, 720, 5000, 16_123])
def test_number_of_frames_is_known_from_the_number_of_samples(settings: FeatureSettings, size: int) -> None:
    features = extract(noise(size), settings)
    assert len(features) == settings.num_frames(size) >= 1
    assert features.dtype == torch.float32
    assert bool(features.isfinite().all())


def test_log_mel_is_whispers_of_a_full_window() -> None:
    from transformers import WhisperFeatureExtractor

    audio = noise(480_000)
    theirs = WhisperFeatureExtractor()(audio, sampling_rate=16_000, return_tensors="pt").input_features[0].T
    torch.testing.assert_close(log_mel(torch.from_numpy(audio)), theirs, atol=2e-4, rtol=1e-4)


def test_log_mel_of_short_audio_is_not_padded_to_thirty_seconds() -> None:
    assert log_mel(torch.from_numpy(noise(16_000))).shape == (100, 80)


def test_waveform_is_wav2vec2s() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    audio = noise(5000) + 0.3
    theirs = Wav2Vec2FeatureExtractor()(audio, sampling_rate=16_000, return_tensors="pt").input_values[0]
    torch.testing.assert_close(extract(audio, FeatureSettings("waveform")), theirs, atol=1e-4, rtol=1e-4)
    plain = extract(audio, FeatureSettings("waveform", normalise=False))
    torch.testing.assert_close(plain, torch.from_numpy(audio))


def test_silence_gives_finite_features() -> None:
    for settings in KINDS:
        assert bool(extract(np.zeros(8000, np.float32), settings).isfinite().all())


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match=r"audio must be \(S,\), got \(100, 2\)"):
        extract(np.zeros((100, 2), np.float32), KINDS[0])


def test_settings_come_back_from_plain_values() -> None:
    for settings in KINDS:
        assert FeatureSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize("values", [{"kind": "mfcc"}, {"kind": "log_mel", "bins": 3}])
def test_unknown_stored_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ArtefactError, match="stored feature"):
        FeatureSettings.from_dict(values)


def test_settings_of_a_donor(tmp_path) -> None:
    assert FeatureSettings.of_donor(tmp_path, model_type="hubert").kind == "waveform"
    values = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    assert FeatureSettings.of_donor(tmp_path, model_type="whisper") == FeatureSettings("log_mel", 128)
    with pytest.raises(ArtefactError, match="model type 'bert' isn't supported; allowed are wav2vec2"):
        FeatureSettings.of_donor(tmp_path / "none", model_type="bert")
