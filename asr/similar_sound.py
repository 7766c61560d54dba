"""Fingerprints of sound: which stretch of one recording is a copy of a stretch of another, and where it lies.

A copy may differ in level, codec, sampling rate, band (telephone), some noise, and where it was cut. So only the band
that telephones keep is looked at, each window relative to its own level, and of that the differences of neighbouring
mel bands, which equalisation hardly changes.

Stage 1 is a vector of a window that does not depend on where in the window something happens: covariances of the bands
at a few time lags. Stage 2 slides a window over a stretch of the other recording and takes the correlation of their
changes in time at the best place (the idea of Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR
2002, with values in place of bits, which survive noise better in windows as short as these).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.features import SAMPLE_RATE_HZ

Floats = NDArray[np.float32]

FRAMES_PER_SECOND = 100
_FRAME, _HOP = 1024, SAMPLE_RATE_HZ // FRAMES_PER_SECOND
_LOW_HZ, _HIGH_HZ, _NUM_BANDS = 200.0, 3600.0, 24
_FLOOR = 0.01  # of a window's mean energy: noise 20 dB below it changes little
_WINDOW_FRAMES, _STEP_FRAMES, _MIN_FRAMES = 100, 50, 20
_NUM_GROUPS, _LAGS = 8, (0, 2, 4, 8, 16)
_CHANGE_FRAMES = 4
_MIN_SHARE = 0.6
_QUIET = 0.02  # share of a window's mean energy of changes that both sides of a correlation have at least
_SILENCE = 1e-12
_MIN_SPREAD = 0.1  # natural log: hum and digital silence change less

_SETTINGS = {
    "kind": "fingerprint", "version": 1, "frame": _FRAME, "hop": _HOP, "band_hz": [_LOW_HZ, _HIGH_HZ],
    "bands": _NUM_BANDS, "floor": _FLOOR, "window": _WINDOW_FRAMES, "step": _STEP_FRAMES, "groups": _NUM_GROUPS,
    "lags": list(_LAGS),
}  # fmt: skip


class Window(NamedTuple):
    """One stretch of a clip, embedded.

    start_seconds, end_seconds: in the clip, half-open.
    vector: (D,) float32.
    tokens: (T, D') float32, what stage 2 compares (here: natural log of band energies, 100 frames a second); None where
        the embedder has no stage 2.
    """

    start_seconds: float
    end_seconds: float
    vector: Floats
    tokens: Floats | None


class Fingerprint:
    """Embeds windows of 1 s, one every half second; a shorter clip is one window. The default for near-duplicates."""

    dim = _NUM_GROUPS * (_NUM_GROUPS + 1) // 2 + (len(_LAGS) - 1) * _NUM_GROUPS**2
    has_tokens = True

    @property
    def digest(self) -> str:
        """Of the settings; fingerprints of other settings are refused by the index."""
        return "fingerprint-" + hashlib.sha256(json.dumps(_SETTINGS, sort_keys=True).encode()).hexdigest()[:16]

    def windows(self, chunks: Iterable[Floats]) -> list[Window]:
        """Embed a clip; windows without sound, and clips under 0.2 s, give nothing.

        Args:
            chunks: consecutive stretches (S,) float32 of one clip, 16 kHz mono; held one at a time.
        """
        energies = band_energies(chunks)
        found = []
        for start in _window_starts(len(energies)):
            part = energies[start : start + _WINDOW_FRAMES]
            frames = window_frames(part)
            if frames.std(axis=0).mean() >= _MIN_SPREAD:
                end = start + len(part)
                vector, tokens = window_vector(frames), np.log(part + _SILENCE)
                found.append(Window(start / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, vector, tokens))
        return found


def band_energies(chunks: Iterable[Floats]) -> Floats:
    """Energy in mel bands of the telephone band: (T, 24) float32 at 100 Hz, frame t centred 32 ms after t / 100 s."""
    rest = np.zeros(0, dtype=np.float32)
    found = [np.zeros((0, _NUM_BANDS), dtype=np.float32)]
    taper = np.hanning(_FRAME).astype(np.float32)
    for chunk in chunks:
        samples = np.concatenate([rest, chunk])
        count = max(0, 1 + (len(samples) - _FRAME) // _HOP)
        rest = samples[count * _HOP :]
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP][:count]
            power = np.square(np.abs(np.fft.rfft(frames * taper, axis=1))).astype(np.float32)
            found.append(power @ _filters())
    return np.concatenate(found)


@lru_cache(maxsize=1)
def _filters() -> Floats:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + _FRAME // 2, num_mel_filters=_NUM_BANDS, min_frequency=_LOW_HZ, max_frequency=_HIGH_HZ,
        sampling_rate=SAMPLE_RATE_HZ, norm=None, mel_scale="slaney",
    )  # fmt: skip
    return np.asarray(filters, dtype=np.float32)


def _window_starts(num_frames: int) -> list[int]:
    """Starts of windows: a step apart, the last one shifted back to end on the last frame."""
    if num_frames < _MIN_FRAMES:
        return []
    last = max(0, num_frames - _WINDOW_FRAMES)
    return [*range(0, last, _STEP_FRAMES), last]


def window_frames(energies: Floats) -> Floats:
    """Differences of neighbouring bands in natural log: (T, 24) energies → (T, 23) float32, about [-5, 5]."""
    level = np.log(_FLOOR + energies / (energies.mean() + 1e-12))
    frames: Floats = (level[:, 1:] - level[:, :-1]).astype(np.float32)
    return frames


def window_vector(frames: Floats) -> Floats:
    """Stage 1: covariances of band groups at some lags, their square roots with sign, to unit length: (D,) float32."""
    groups = np.stack([part.mean(axis=1) for part in np.array_split(frames, _NUM_GROUPS, axis=1)], axis=1)
    groups = groups - groups.mean(axis=0)
    parts = []
    for lag in _LAGS:
        early, late = groups[: len(groups) - lag], groups[lag:]
        covariance = late.T @ early / max(1, len(late))
        parts.append(covariance[np.triu_indices(_NUM_GROUPS)] if lag == 0 else covariance.ravel())
    vector = np.concatenate(parts)
    vector = np.sign(vector) * np.sqrt(np.abs(vector))
    unit: Floats = (vector / (np.linalg.norm(vector) + 1e-12)).astype(np.float32)
    return unit


class Match(NamedTuple):
    """How well a window lies on another recording.

    score: correlation at the best place, up to 1.
    lag_seconds: where the window's start lies in the other stretch.
    """

    score: float
    lag_seconds: float


def best_alignments(window: Floats, others: Sequence[Floats]) -> list[Match]:
    """Stage 2: slide a window over each of some other stretches and judge the best place.

    Args:
        window: (T, 24) log energies.
        others: each (T', 24) log energies, a stretch around where the window may lie.
    """
    parts = [_changes(part) for part in (window, *others)]
    size = 1 << (parts[0].shape[0] + max(len(part) for part in parts)).bit_length()
    padded = np.zeros((len(parts), size, parts[0].shape[1]), dtype=np.float32)
    for row, part in enumerate(parts):
        padded[row, : len(part)] = part
    spectra = np.fft.rfft(padded, axis=1)
    products = np.fft.irfft((spectra[0].conj() * spectra[1:]).sum(axis=2), size, axis=1)
    matches = []
    for other, part, line in zip(others, parts[1:], products, strict=True):
        lag = _best_lag(parts[0], part, line)
        matches.append(Match(_agreement(window, other, lag), lag / FRAMES_PER_SECOND))
    return matches


def _changes(log_energies: Floats) -> Floats:
    frames = window_frames(np.exp(log_energies.astype(np.float32)))
    moved: Floats = frames[_CHANGE_FRAMES:] - frames[:-_CHANGE_FRAMES]
    centred: Floats = moved - moved.mean(axis=0)
    return centred


def _best_lag(one: Floats, other: Floats, products: NDArray[np.float64]) -> int:
    lags = np.arange(1 - len(one), len(other))
    begins, ends = np.maximum(0, -lags), np.minimum(len(one), len(other) - lags)
    enough = ends - begins >= _MIN_SHARE * min(len(one), len(other))
    lags, begins, ends = lags[enough], begins[enough], ends[enough]
    energy = _energy_between(one, begins, ends) * _energy_between(other, begins + lags, ends + lags)
    return int(lags[(products[lags % len(products)] / np.sqrt(energy)).argmax()])


def _energy_between(changes: Floats, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Energy of frames [begin, end), at least what a quiet stretch of that length has: silence correlates with all."""
    sums = np.concatenate([[0.0], np.cumsum(np.square(changes, dtype=np.float64).sum(axis=1))])
    least = _QUIET * sums[-1] / len(changes) + 1e-9
    energy: NDArray[np.float64] = np.maximum(sums[ends] - sums[begins], least * (ends - begins))
    return energy


def _agreement(window: Floats, other: Floats, lag: int) -> float:
    """Correlation of what lies on each other, each side relative to its own level there and nothing around it."""
    begin, end = max(0, -lag), min(len(window), len(other) - lag)
    one, two = _changes(window[begin:end]), _changes(other[begin + lag : end + lag])
    norm = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float((one * two).sum()) / norm if norm > 0 else 0.0
