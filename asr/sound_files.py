"""Noise and room impulse responses from folders of recordings, for augmentation."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.datasets.folder import audio_files
from asr.features import SAMPLE_RATE_HZ
from signwave.errors import ConfigError, MediaError, UserError

log = logging.getLogger(__name__)

_LONGEST_SECONDS = 600.0
_CACHED_SAMPLES = 3600 * SAMPLE_RATE_HZ
_LONGEST_ROOM_SECONDS = 2.0


class SoundFiles:
    """Recordings of a folder, drawn at random; one that can't be read is passed over, with a line in the log.

    Up to an hour stays in the memory of each loader process.

    Args:
        folder: searched with everything below it.
        setting: that named the folder, for messages.

    Raises:
        ConfigError: no such folder, or no recording in it.
    """

    def __init__(self, folder: str | Path, *, setting: str) -> None:
        self.folder = Path(folder)
        self.paths = list(audio_files(self.folder)) if self.folder.is_dir() else []
        if not self.paths:
            what = "holds no recording" if self.folder.is_dir() else "no such folder"
            raise ConfigError(f"{setting}={folder}: {what}; give a folder of audio files, or leave the setting empty")
        self._cache: dict[int, NDArray[np.float32] | None] = {}
        self._num_cached = 0

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(S,) float32, 16 kHz: one of the recordings, up to its tenth minute.

        Raises:
            UserError: none can be read.
        """
        first = int(rng.integers(len(self.paths)))
        for place in range(len(self.paths)):
            audio = self._read((first + place) % len(self.paths))
            if audio is not None:
                return audio
        raise UserError(f"{self.folder}: none of its {len(self.paths)} recordings can be read; mend or replace them")

    def stretch(self, num_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """(num_samples,) float32: a stretch of one of them, begun anywhere and repeated where it is too short."""
        audio = self.draw(rng)
        start = int(rng.integers(max(1, len(audio) - num_samples + 1)))
        return np.resize(audio[start:] if len(audio) > num_samples else audio, num_samples)

    def _read(self, index: int) -> NDArray[np.float32] | None:
        """A recording, or None where it can't be read or holds no sound."""
        if index in self._cache:
            return self._cache[index]
        from signwave.media.audio import read_audio

        audio: NDArray[np.float32] | None = None
        try:
            audio = read_audio(self.paths[index], end_seconds=_LONGEST_SECONDS)
            if not audio.any():
                raise MediaError(self.paths[index], "is silent")
        except UserError as error:
            audio = None
            log.warning("augmentation goes on without one of its recordings: %s", error)
        if audio is None or self._num_cached + len(audio) <= _CACHED_SAMPLES:
            self._cache[index] = audio
            self._num_cached += 0 if audio is None else len(audio)
        return audio


def add_noise(audio: NDArray[np.float32], noise: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    """Mix at a signal-to-noise ratio.

    Args:
        audio: (S,) float32.
        noise: (S,) float32; silence changes nothing.
        snr_db: mean power of audio over that of the noise.
    """
    power = float(np.mean(np.square(noise)))
    if power < 1e-12:
        return audio
    scale = np.sqrt((np.mean(np.square(audio)) + 1e-12) / power) * 10.0 ** (-snr_db / 20.0)
    mixed: NDArray[np.float32] = (audio + scale * noise).astype(np.float32)
    return mixed


def put_in_room(audio: NDArray[np.float32], response: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve with a room's impulse response, from its direct sound on, at the same level, length and times.

    Args:
        audio: (S,) float32.
        response: (R,) float32, at the same rate; not silent.
    """
    from scipy.signal import fftconvolve

    direct = int(np.abs(response).argmax())
    response = response[direct : direct + int(_LONGEST_ROOM_SECONDS * SAMPLE_RATE_HZ)]
    wet = fftconvolve(audio, response)[: len(audio)]
    level, wet_level = np.sqrt(np.mean(np.square(audio))), np.sqrt(np.mean(np.square(wet)))
    scaled: NDArray[np.float32] = (wet * (level / max(float(wet_level), 1e-9))).astype(np.float32)
    return scaled
