"""Frames of recordings for acoustic tokens: hidden states of a speech encoder, or plain log-mel where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from asr.features import MIN_SAMPLES, SAMPLE_RATE_HZ, extract, log_mel
from asr.similar_domain import EncoderMean
from signwave.manifest import Clip
from signwave.media.audio import iter_audio

Floats = NDArray[np.float32]

_PIECE_SECONDS = 15.0
_NUM_BANDS = 40
_STACKED = 2


class FrameFeatures(Protocol):
    """Turns a piece of audio into frames, 50 a second or so."""

    def __call__(self, samples: Floats) -> Floats:
        """(S,) float32, 16 kHz mono → (T, D) float32."""


def mel_frames(samples: Floats) -> Floats:
    """Log-mel of 20 ms with the mean and spread of the piece taken out: (T, 80) float32. Knows channels, few phones."""
    mel = log_mel(torch.from_numpy(np.ascontiguousarray(samples)), num_mel_bins=_NUM_BANDS).numpy()
    mel = mel[: len(mel) // _STACKED * _STACKED]
    scaled = (mel - mel.mean(axis=0)) / (mel.std(axis=0) + 1e-3)
    frames: Floats = scaled.reshape(-1, _STACKED * _NUM_BANDS).astype(np.float32)
    return frames


class EncoderFrames:
    """Last hidden states of a speech encoder: (T, D) float32, usually 50 a second."""

    def __init__(self, encoder: EncoderMean) -> None:
        self._encoder = encoder

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> EncoderFrames:
        """Open a transformers folder, or a run or bundle of ours; see `EncoderMean.load`."""
        return cls(EncoderMean.load(folder, device=device))

    @torch.inference_mode()
    def __call__(self, samples: Floats) -> Floats:
        """See `FrameFeatures`."""
        encoder = self._encoder
        inputs = extract(samples, encoder.settings)[None].to(encoder.device)
        hidden, steps = encoder.model.encode(inputs, torch.tensor([inputs.shape[1]], device=encoder.device))
        frames: Floats = hidden[0, : int(steps[0])].float().cpu().numpy()
        return frames


def clip_frames(clip: Clip, features: FrameFeatures) -> Iterator[Floats]:
    """Frames of a clip in pieces of at most 15 s; silence and ends under 50 ms give none.

    Raises:
        MediaError: the clip can't be read.
    """
    chunks = iter_audio(
        clip.path,
        chunk_seconds=_PIECE_SECONDS,
        start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
        rate_hz=SAMPLE_RATE_HZ,
        on_nan="zero",
    )
    for chunk in chunks:
        if len(chunk) >= MIN_SAMPLES and chunk.any():
            yield features(chunk)
