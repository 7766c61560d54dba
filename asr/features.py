"""From 16 kHz audio to what a speech encoder takes: the waveform itself, Whisper's log-mel or w2v-BERT's stacked fbank.

A file of its own, because training, inference and export must compute the very same numbers: the settings are stored in
the bundle as plain values, and no donor folder is needed afterwards.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.errors import ArtefactError

SAMPLE_RATE_HZ = 16_000
MIN_SAMPLES = 800
"""Shorter audio is padded with zeros to 50 ms: every encoder gives a step, and a variance over time exists."""

FeatureKind = Literal["waveform", "log_mel", "stacked_fbank"]
_KIND_OF_EXTRACTOR: dict[str, FeatureKind] = {
    "Wav2Vec2FeatureExtractor": "waveform",
    "WhisperFeatureExtractor": "log_mel",
    "SeamlessM4TFeatureExtractor": "stacked_fbank",
}
_KIND_OF_MODEL: dict[str, FeatureKind] = {
    "wav2vec2": "waveform",
    "hubert": "waveform",
    "wavlm": "waveform",
    "whisper": "log_mel",
    "wav2vec2-bert": "stacked_fbank",
}
_WINDOW, _HOP = 400, 160
_FLOOR_BELOW_MAXIMUM = 8.0  # in log10 units, as Whisper was trained


@dataclass(frozen=True)
class FeatureSettings:
    """Which features, as plain values that are stored with the model."""

    kind: FeatureKind = "waveform"
    num_mel_bins: int = 80
    """Of log_mel and stacked_fbank."""
    normalise: bool = True
    """waveform: zero mean and unit variance per clip."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSettings:
        """Rebuild stored settings.

        Raises:
            ArtefactError: unknown keys or kinds.
        """
        try:
            settings = cls(**values)
        except TypeError as error:
            raise ArtefactError(
                f"stored feature settings can't be read ({error}); use the version that wrote them"
            ) from None
        if settings.kind not in _KIND_OF_MODEL.values():
            raise ArtefactError(
                f"stored features are {settings.kind!r}; allowed are {sorted(set(_KIND_OF_MODEL.values()))}"
            )
        return settings

    @classmethod
    def of_donor(cls, folder: str | Path, *, model_type: str, num_mel_bins: int = 80) -> FeatureSettings:
        """Settings of a transformers folder: from its preprocessor_config.json, else from the model's type."""
        path = Path(folder) / "preprocessor_config.json"
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kind = _KIND_OF_EXTRACTOR.get(str(values.get("feature_extractor_type")), _KIND_OF_MODEL.get(model_type))
        if kind is None:
            raise ArtefactError(
                f"{folder}: model type {model_type!r} isn't supported; allowed are {', '.join(_KIND_OF_MODEL)}"
            )
        return cls(kind, int(values.get("feature_size", num_mel_bins)) if kind == "log_mel" else num_mel_bins,
                   bool(values.get("do_normalize", True)))  # fmt: skip

    @property
    def samples_per_frame(self) -> int:
        """Audio samples from one feature frame to the next."""
        return {"waveform": 1, "log_mel": _HOP, "stacked_fbank": 2 * _HOP}[self.kind]

    def num_frames(self, num_samples: int) -> int:
        """Feature frames of a clip, computed without its audio."""
        num_samples = max(num_samples, MIN_SAMPLES)
        if self.kind == "stacked_fbank":
            return (1 + (num_samples - _WINDOW) // _HOP + 1) // 2
        return num_samples // self.samples_per_frame


def extract(audio: NDArray[np.float32], settings: FeatureSettings) -> Tensor:
    """Compute the features of one clip.

    Args:
        audio: (S,) float32 in [-1, 1], 16 kHz mono.
        settings: of the model.

    Returns:
        waveform: (S,) float32; log_mel: (T, num_mel_bins) float32 at 100 Hz, about [-1, 1.5];
        stacked_fbank: (T, 2 * num_mel_bins) float32 at 50 Hz, zero mean and unit variance per bin.
    """
    if audio.ndim != 1:
        raise ValueError(f"audio must be (S,), got {audio.shape}")
    if len(audio) < MIN_SAMPLES:
        audio = np.pad(audio, (0, MIN_SAMPLES - len(audio)))
    audio = np.ascontiguousarray(audio, dtype=np.float32)
    if settings.kind == "log_mel":
        return log_mel(torch.from_numpy(audio), num_mel_bins=settings.num_mel_bins)
    if settings.kind == "stacked_fbank":
        return _stacked_fbank(audio, settings.num_mel_bins)
    if settings.normalise:
        audio = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    return torch.from_numpy(audio)


def log_mel(audio: Tensor, *, num_mel_bins: int = 80) -> Tensor:
    """Whisper's log-mel spectrogram of exactly this audio: not padded to 30 s.

    Args:
        audio: (S,) float32 in [-1, 1], 16 kHz mono, S > 200.
        num_mel_bins: 80, or 128 for Whisper large-v3.

    Returns:
        features: (T, num_mel_bins) float32, T = S // 160.
    """
    window = torch.hann_window(_WINDOW, device=audio.device)
    spectrum = torch.stft(audio, _WINDOW, _HOP, window=window, return_complex=True)[:, :-1]
    power = spectrum.real.square() + spectrum.imag.square()
    mel = (_mel_filters(num_mel_bins).to(audio.device) @ power).clamp(min=1e-10).log10()
    mel = torch.maximum(mel, mel.max() - _FLOOR_BELOW_MAXIMUM)
    return ((mel + 4.0) / 4.0).T.contiguous()


@lru_cache(maxsize=4)
def _mel_filters(num_mel_bins: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + _WINDOW // 2, num_mel_filters=num_mel_bins, min_frequency=0.0, max_frequency=8000.0,
        sampling_rate=SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    return torch.from_numpy(filters.T.astype(np.float32)).contiguous()


@lru_cache(maxsize=4)
def _seamless_extractor(num_mel_bins: int) -> Any:
    from transformers import SeamlessM4TFeatureExtractor

    return SeamlessM4TFeatureExtractor(feature_size=num_mel_bins, num_mel_bins=num_mel_bins)


def _stacked_fbank(audio: NDArray[np.float32], num_mel_bins: int) -> Tensor:
    found = _seamless_extractor(num_mel_bins)(audio, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")
    return torch.from_numpy(np.asarray(found["input_features"][0], dtype=np.float32))
