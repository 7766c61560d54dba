"""Made-up voices: buzzing syllables with pauses, enough like speech for energy, fingerprints and scores."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from signwave.media.audio import write_wav

RATE_HZ = 16_000
Audio = NDArray[np.float32]


def babble(seconds: float, seed: int = 0) -> Audio:
    """A buzz with two moving resonances and dips between syllables, over noise 50 dB down."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    knots = np.arange(0, seconds + 0.2, 0.12)

    def track(low: float, high: float) -> NDArray[np.float64]:
        return np.interp(time, knots, rng.uniform(low, high, len(knots)))

    pitch = track(90, 180)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    first, second = track(300, 800), track(1000, 2800)
    voice = np.zeros(len(time))
    for harmonic in range(1, 36):
        gain = np.exp(-(((harmonic * pitch - first) / 150) ** 2))
        gain += 0.5 * np.exp(-(((harmonic * pitch - second) / 250) ** 2)) + 0.01
        voice += gain * np.sin(harmonic * phase)
    voice *= np.clip(track(0.1, 1.0), 0, 1)
    voice = 0.5 * voice / np.abs(voice).max() + 1e-3 * rng.standard_normal(len(time))
    return voice.astype(np.float32)


def pause(seconds: float, seed: int = 0, level: float = 1e-3) -> Audio:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """Write a recording below tmp_path/raw."""

    def write(name: str, *parts: Audio) -> Path:
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_wav(path, np.concatenate(parts))

    return write


@pytest.fixture(name="babble")
def _babble() -> Callable[..., Audio]:
    return babble


@pytest.fixture(name="pause")
def _pause() -> Callable[..., Audio]:
    return pause
