"""What a segment sounds like, in numbers: level, clipping, bandwidth, signal to noise, share of speech."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.curation.voice import FRAME_SAMPLES, Floats
from asr.features import SAMPLE_RATE_HZ

LOWEST_DB = -120.0
MAX_SNR_DB = 60.0
_NOISE_PERCENTILE = 10
_CLIPPED_FROM = 0.9  # of the peak: resampling and codecs leave ripples on the flat tops
_CLIPPED_RUN = 3
_QUIET_PEAK = 0.05  # clipping that was scaled down so far is not looked for
_BANDWIDTH_PERCENTILE = 95  # hisses are rare
_BANDWIDTH_BELOW_PEAK_DB = 60.0
_SMOOTH_BINS = 5


class SoundScores(NamedTuple):
    """Scores of one segment.

    level_dbfs: mean power of the frames with speech, 0 = full-scale square wave, at least -120.
    peak: largest absolute sample, in [0, 1].
    crest_db: the peak above the level; speech has 12 to 20, clipped through and through it has under 6.
    clipped_share: share of samples in flat tops, in [0, 1].
    bandwidth_hz: highest frequency that speech reaches, up to 8000.
    snr_db: power of speech above that of the quietest tenth around, in [-20, 60].
    speech_share: share of frames with speech, in [0, 1].
    voice: mean probability of speech, in [0, 1].
    """

    level_dbfs: float
    peak: float
    crest_db: float
    clipped_share: float
    bandwidth_hz: float
    snr_db: float
    speech_share: float
    voice: float


def sound_scores(samples: Floats, probabilities: Floats, around: Floats, *, threshold: float) -> SoundScores:
    """Score a segment.

    Args:
        samples: (S,) float32 in [-1, 1], 16 kHz mono.
        probabilities: (T,) of speech, one per 512 samples of it; the last may be incomplete.
        around: (S',) the segment with what lies about a second around it, for the noise.
        threshold: probability from which a frame counts as speech.
    """
    frames = _frames(samples)
    is_speech = probabilities[: len(frames)] >= threshold
    speech = frames[is_speech] if is_speech.any() else frames
    power = float(np.square(speech, dtype=np.float64).mean()) if speech.size else 0.0
    noise_power = np.square(_frames(around), dtype=np.float64).mean(axis=1)
    noise = float(np.percentile(noise_power, _NOISE_PERCENTILE)) if len(noise_power) else 0.0
    peak = float(np.abs(samples).max(initial=0.0))
    return SoundScores(
        level_dbfs=_decibels(power),
        peak=peak,
        crest_db=_decibels(peak**2) - _decibels(power),
        clipped_share=clipped_share(samples),
        bandwidth_hz=bandwidth_hz(speech),
        snr_db=float(np.clip(_decibels(max(power - noise, 0.0)) - _decibels(noise), -20.0, MAX_SNR_DB)),
        speech_share=float((probabilities >= threshold).mean()) if len(probabilities) else 0.0,
        voice=float(probabilities.mean()) if len(probabilities) else 0.0,
    )


def _frames(samples: Floats) -> Floats:
    whole = len(samples) // FRAME_SAMPLES
    return samples[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES)


def _decibels(power: float) -> float:
    return max(LOWEST_DB, 10 * float(np.log10(power + 1e-30)))


def clipped_share(samples: Floats) -> float:
    """Share of samples in runs of three or more of one sign that stay within 10 % of the peak.

    Also finds what was clipped and then resampled or made quieter; of mp3 made from clipped sound it finds a part.
    Unclipped speech has about 0.0001, speech of which the top thousandth was cut off has 0.001 to 0.002.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < _QUIET_PEAK:
        return 0.0
    total = sum(_in_runs(sign * samples >= _CLIPPED_FROM * peak) for sign in (1, -1))
    return total / len(samples)


def _in_runs(at_top: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(at_top.astype(np.int8), prepend=0, append=0))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _CLIPPED_RUN].sum())


def bandwidth_hz(speech: Floats) -> float:
    """Highest frequency whose loud frames come within 60 dB of the loudest band.

    Args:
        speech: (T, 512) float32 frames of speech.
    """
    if not speech.any():
        return 0.0
    taper = np.hanning(FRAME_SAMPLES).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(speech * taper, axis=1)))
    loud = np.percentile(power, _BANDWIDTH_PERCENTILE, axis=0)
    smooth = np.convolve(loud, np.full(_SMOOTH_BINS, 1 / _SMOOTH_BINS), mode="same")
    reached = np.flatnonzero(smooth >= smooth.max() * 10 ** (-_BANDWIDTH_BELOW_PEAK_DB / 10))
    return float(reached[-1] * SAMPLE_RATE_HZ / FRAME_SAMPLES)
