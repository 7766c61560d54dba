"""Augmentation of speech: speed, rooms, level and noise on audio, SpecAugment on features, drawn from one generator."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.features import SAMPLE_RATE_HZ, FeatureSettings
from asr.sound_files import SoundFiles, add_noise, put_in_room
from signwave.errors import ConfigError

Audio = NDArray[np.float32]


@dataclass
class AugmentConfig:
    """How training clips vary. A probability or width of 0 switches a part off."""

    speed_range: float = 0.1
    """Played at 1 - range to 1 + range of the speed; pitch follows."""
    gain_range_db: float = 6.0
    noise_probability: float = 0.3
    noise_snr_db_min: float = 10.0
    noise_snr_db_max: float = 30.0
    noise_dir: str = ""
    """Folder of recordings of noise; empty adds white noise."""
    room_probability: float = 0.0
    room_dir: str = ""
    """Folder of impulse responses of rooms."""
    join_probability: float = 0.0
    """How often a short clip is followed by another one: single words meet neighbours."""
    join_max_seconds: float = 8.0
    num_time_masks_per_second: float = 0.5
    time_mask_seconds: float = 0.3
    """Longest mask over time; never more than a fifth of the clip."""
    num_frequency_masks: int = 2
    frequency_mask_share: float = 0.17
    """Widest mask, as a share of the feature bins; not for waveforms."""

    def __post_init__(self) -> None:
        for name in ("noise_probability", "room_probability", "join_probability", "frequency_mask_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"augment.{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.speed_range < 0.5:
            raise ConfigError(f"augment.speed_range must be in [0, 0.5), got {self.speed_range}")
        if self.noise_snr_db_min > self.noise_snr_db_max:
            raise ConfigError("augment.noise_snr_db_min must not be above noise_snr_db_max")
        if self.room_probability and not self.room_dir:
            raise ConfigError("augment.room_probability is set; name a folder of impulse responses: augment.room_dir=…")


class Surroundings(NamedTuple):
    """Recordings that augmentation mixes in."""

    noises: SoundFiles | None = None
    rooms: SoundFiles | None = None

    @classmethod
    def of(cls, config: AugmentConfig) -> "Surroundings":
        """Those that the settings name.

        Raises:
            ConfigError: a folder is missing or empty.
        """
        noisy, roomy = config.noise_dir and config.noise_probability, config.room_dir and config.room_probability
        return cls(
            SoundFiles(config.noise_dir, setting="augment.noise_dir") if noisy else None,
            SoundFiles(config.room_dir, setting="augment.room_dir") if roomy else None,
        )


NOTHING = Surroundings()


def vary_audio(
    audio: Audio,
    config: AugmentConfig,
    rng: np.random.Generator,
    *,
    max_samples: int | None = None,
    surroundings: Surroundings = NOTHING,
) -> Audio:
    """Change speed, room and level, and add noise.

    Args:
        audio: (S,) float32 in [-1, 1], 16 kHz.
        config: how much.
        rng: of this draw.
        max_samples: a slower clip doesn't get longer than this; None = no limit.
        surroundings: recordings of noise, without which it is white, and of rooms, without which there is none.
    """
    if config.speed_range:
        speed = 1.0 + rng.uniform(-config.speed_range, config.speed_range)
        if max_samples is not None and len(audio) / speed > max_samples:
            speed = max(speed, min(1.0, len(audio) / max_samples))
        positions = np.arange(int(len(audio) / speed)) * speed
        # Linear interpolation: its slight dulling is one more variation, and it costs a tenth of a filter.
        audio = np.interp(positions, np.arange(len(audio)), audio).astype(np.float32)
    if surroundings.rooms is not None and rng.random() < config.room_probability:
        audio = put_in_room(audio, surroundings.rooms.draw(rng))
    if config.gain_range_db:
        audio = audio * np.float32(10.0 ** (rng.uniform(-config.gain_range_db, config.gain_range_db) / 20.0))
    if rng.random() < config.noise_probability:
        snr_db = rng.uniform(config.noise_snr_db_min, config.noise_snr_db_max)
        if surroundings.noises is not None:
            noise = surroundings.noises.stretch(len(audio), rng)
        else:
            noise = rng.standard_normal(len(audio)).astype(np.float32)
        audio = add_noise(audio, noise, snr_db)
    return audio


def mask_features(
    features: Tensor, settings: FeatureSettings, config: AugmentConfig, rng: np.random.Generator
) -> Tensor:
    """SpecAugment: spans of time, and bands of frequency where there are bands, take the clip's mean.

    Args:
        features: (S,) float32 waveform or (T, D) float32.
        settings: of the features.
        config: how much.
        rng: of this draw.
    """
    features = features.clone()
    mean = features.mean()
    frames_per_second = SAMPLE_RATE_HZ / settings.samples_per_frame
    size = len(features)
    widest = min(int(config.time_mask_seconds * frames_per_second), size // 5)
    for _ in range(round(config.num_time_masks_per_second * size / frames_per_second) if widest else 0):
        width = int(rng.integers(0, widest + 1))
        start = int(rng.integers(0, size - width + 1))
        features[start : start + width] = mean
    if features.ndim == 2 and config.frequency_mask_share:
        num_bins = features.shape[1]
        for _ in range(config.num_frequency_masks):
            width = int(rng.integers(0, int(config.frequency_mask_share * num_bins) + 1))
            start = int(rng.integers(0, num_bins - width + 1))
            features[:, start : start + width] = mean
    return features
