"""How close recordings are to a target domain: voices, language, channel and noise as a vector per clip.

The default vector is plain statistics of the log-mel spectrum and of its changes, whose level is taken out. A speech
encoder's mean hidden state (a transformers folder, or one of our bundles) tells languages and content apart better.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr.features import MIN_SAMPLES, SAMPLE_RATE_HZ, FeatureSettings, extract, log_mel
from asr.models.speech_ctc import SpeechCtc, SpeechCtcConfig
from asr.similar_sound import Floats, Window
from signwave.rundir import sha256_file

_NUM_BANDS = 40
# In units of Whisper's scaled log10, 40 dB each:
_FLOOR_BELOW_MAX = 1.25  # deeper lies what 16 bits and codecs leave, which says nothing of a domain
_SPEECH_BELOW_MAX = 0.75
_MAX_SECONDS = 20.0


class SpectrumStatistics:
    """Mean, spread and pace of change of 40 mel bands over the frames within 30 dB of the loudest: 120 numbers."""

    dim = 3 * _NUM_BANDS
    has_tokens = False
    digest = "spectrum-statistics-1"

    def windows(self, chunks: Iterable[Floats]) -> list[Window]:
        """One vector for the entire clip: (120,) float32, of any length; see `ClipEmbedder`."""
        parts, num_samples = [], 0
        for chunk in chunks:
            num_samples += len(chunk)
            if len(chunk) >= MIN_SAMPLES and chunk.any():
                parts.append(self._frames(chunk))
        num_frames = sum(len(levels) for levels, _ in parts)
        if num_frames == 0:
            return []
        levels, changes = (np.concatenate(values) for values in zip(*parts, strict=True))
        mean = levels.mean(axis=0)
        statistics = np.concatenate([mean - mean.mean(), levels.std(axis=0), changes.mean(axis=0)])
        return [Window(0.0, num_samples / SAMPLE_RATE_HZ, statistics.astype(np.float32), None)]

    @staticmethod
    def _frames(chunk: Floats) -> tuple[Floats, Floats]:
        mel = log_mel(torch.from_numpy(np.ascontiguousarray(chunk)), num_mel_bins=_NUM_BANDS).numpy()
        mel = np.maximum(mel, mel.max() - _FLOOR_BELOW_MAX)
        change = np.abs(np.diff(mel, axis=0, prepend=mel[:1]))
        loud = mel.mean(axis=1) >= mel.mean(axis=1).max() - _SPEECH_BELOW_MAX
        return mel[loud], change[loud]


class EncoderMean:
    """Mean over time of a speech encoder's last hidden states, in pieces of at most 20 s."""

    has_tokens = False

    def __init__(self, model: SpeechCtc, settings: FeatureSettings, digest: str, device: str = "cpu") -> None:
        self.model = model.to(device).eval()
        self.settings = settings
        self.dim = model.encoder.width
        self.digest = digest
        self.device = device

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> EncoderMean:
        """Open a transformers folder (config.json, model.safetensors), or a run or bundle of ours.

        Raises:
            ArtefactError: neither, or damaged.
        """
        path = Path(folder)
        if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
            config = SpeechCtcConfig(donor_dir=str(path))
            digest = f"encoder-{sha256_file(path / 'model.safetensors')[:32]}"
            return cls(config.build(vocab_size=2), config.features(), digest, device)
        from asr.acoustic_model import model_of
        from signwave import bundle

        loaded = bundle.load(path)
        settings = FeatureSettings.from_dict(loaded.config["features"])
        return cls(model_of(loaded), settings, f"encoder-{loaded.digest}", device)

    @torch.inference_mode()
    def windows(self, chunks: Iterable[Floats]) -> list[Window]:
        """One vector for the entire clip: (D,) float32; see `ClipEmbedder`."""
        size = int(min(_MAX_SECONDS, self.model.max_seconds or _MAX_SECONDS) * SAMPLE_RATE_HZ)
        total: NDArray[np.float64] = np.zeros(self.dim)
        num_steps = num_samples = 0
        for chunk in chunks:
            num_samples += len(chunk)
            for start in range(0, len(chunk), size):
                piece = chunk[start : start + size]
                if len(piece) >= MIN_SAMPLES and piece.any():
                    inputs = extract(piece, self.settings)[None].to(self.device)
                    hidden, steps = self.model.encode(inputs, torch.tensor([inputs.shape[1]], device=self.device))
                    valid = hidden[0, : int(steps[0])].double().cpu().numpy()
                    total += valid.sum(axis=0)
                    num_steps += len(valid)
        if num_steps == 0:
            return []
        return [Window(0.0, num_samples / SAMPLE_RATE_HZ, (total / num_steps).astype(np.float32), None)]
