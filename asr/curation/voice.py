"""Voice detection as a stream: the probability of speech for each 32 ms, whatever pieces the audio comes in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from asr.curation.settings import VoiceKind
from asr.features import SAMPLE_RATE_HZ
from signwave.errors import ArtefactError, UserError

Floats = NDArray[np.float32]

FRAME_SAMPLES = 512
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE_HZ
_CONTEXT_SAMPLES = 64
_MODEL = Path("data", "silero_vad.jit")  # the safetensors file beside it holds older weights


class VoiceDetector(Protocol):
    """Gives a probability of speech per frame of 512 samples (32 ms)."""

    def reset(self) -> None:
        """Start a new recording."""

    def probabilities(self, frames: Floats) -> Floats:
        """Judge the next frames.

        Args:
            frames: (T, 512) float32 in [-1, 1], 16 kHz mono, following those of the last call.

        Returns:
            (T,) float32 in [0, 1].
        """


def load_voice_detector(kind: VoiceKind) -> VoiceDetector:
    """Return a detector; "auto" is silero where it is installed.

    Raises:
        UserError: silero is wanted and its package is not installed.
        ArtefactError: the package holds other weights than this code knows.
    """
    return EnergyVoice() if resolved_kind(kind) == "energy" else SileroVoice.load()


def resolved_kind(kind: VoiceKind) -> VoiceKind:
    """The detector that "auto" stands for on this machine."""
    if kind != "auto":
        return kind
    return "silero" if is_silero_there() else "energy"


def is_silero_there() -> bool:
    """Whether the package with silero's weights is installed."""
    return importlib.util.find_spec("silero_vad") is not None


class SileroVoice:
    """Silero VAD 6 at 16 kHz (MIT) with its own weights, all frames of a piece in one pass.

    Everything but the recurrent layer sees one frame and 4 ms before it, so only that layer runs step by step: the
    same probabilities as the package's model called per frame, many times faster.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights
        self._recurrent = torch.nn.LSTM(128, 128, batch_first=True)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._recurrent.load_state_dict({f"{name}_l0": weights[f"decoder.rnn.{name}"] for name in names})
        self._recurrent.eval().requires_grad_(False)
        self.reset()

    @classmethod
    def load(cls) -> SileroVoice:
        """Read the weights inside the package `silero-vad`; its code is not imported."""
        spec = importlib.util.find_spec("silero_vad")
        if spec is None or spec.origin is None:
            raise UserError(
                "the voice detector needs the package 'silero-vad'; run: pip install 'signwave[curation]', "
                "or choose voice=energy"
            )
        path = Path(spec.origin).parent / _MODEL
        try:
            stored = torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
            mine = {name.removeprefix("_model."): value for name, value in stored.items() if name.startswith("_model.")}
            return cls(mine)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{path}: not the model of silero-vad 6.2 ({reason}); install that version") from error

    def reset(self) -> None:
        """Start a new recording."""
        self._state = (torch.zeros(1, 1, 128), torch.zeros(1, 1, 128))
        self._context = torch.zeros(_CONTEXT_SAMPLES)

    @torch.inference_mode()
    def probabilities(self, frames: Floats) -> Floats:
        """Judge the next frames; see `VoiceDetector`."""
        if not len(frames):
            return np.zeros(0, dtype=np.float32)
        samples = torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32))
        before = torch.cat([self._context[None], samples[:-1, -_CONTEXT_SAMPLES:]])
        self._context = samples[-1, -_CONTEXT_SAMPLES:].clone()
        hidden, self._state = self._recurrent(self._encode(torch.cat([before, samples], dim=1))[None], self._state)
        logits = hidden[0].relu() @ self._weights["decoder.decoder.2.weight"][0, :, 0]
        logits = logits + self._weights["decoder.decoder.2.bias"]
        probabilities: Floats = logits.sigmoid().numpy()
        return probabilities

    def _encode(self, windows: Tensor) -> Tensor:
        """(T, 576) samples → (T, 128)."""
        x = F.pad(windows[:, None], (0, 64), mode="reflect")
        spectrum = F.conv1d(x, self._weights["stft.forward_basis_buffer"], stride=128)
        x = (spectrum[:, :129].square() + spectrum[:, 129:].square()).sqrt()
        for layer, stride in enumerate((1, 2, 2, 1)):
            weight, bias = (self._weights[f"encoder.{layer}.reparam_conv.{name}"] for name in ("weight", "bias"))
            x = F.conv1d(x, weight, bias, stride=stride, padding=1).relu()
        return x.squeeze(2)


class EnergyVoice:
    """Speech is what lies well above the quietest tenth of the last half minute. Takes music for speech."""

    _HISTORY_FRAMES = 940
    _BLOCK_FRAMES = 512
    _LOWEST_DB, _HIGHEST_FLOOR_DB = -90.0, -45.0  # no recording with speech from its first frame on is all floor
    _ABOVE_DB, _SLOPE_DB = 12.0, 2.0

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._history = np.zeros(0, dtype=np.float32)

    def probabilities(self, frames: Floats) -> Floats:
        """Judge the next frames; see `VoiceDetector`."""
        found = [self._block(frames[at : at + self._BLOCK_FRAMES]) for at in range(0, len(frames), self._BLOCK_FRAMES)]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def _block(self, frames: Floats) -> Floats:
        power = np.square(frames, dtype=np.float32).mean(axis=1)
        levels = np.maximum(10 * np.log10(power + 1e-12), self._LOWEST_DB).astype(np.float32)
        padding = np.full(max(0, self._HISTORY_FRAMES - 1 - len(self._history)), np.inf, dtype=np.float32)
        joined = np.concatenate([padding, self._history, levels])[-(self._HISTORY_FRAMES - 1 + len(levels)) :]
        windows = np.lib.stride_tricks.sliding_window_view(joined, self._HISTORY_FRAMES)
        known = np.minimum(self._HISTORY_FRAMES, len(self._history) + 1 + np.arange(len(levels)))
        places = known // 10  # what is not known yet is infinite and sorts last
        floor = np.take_along_axis(np.sort(windows, axis=1), places[:, None], axis=1)[:, 0]
        self._history = np.concatenate([self._history, levels])[-(self._HISTORY_FRAMES - 1) :]
        above = levels - np.minimum(floor, self._HIGHEST_FLOOR_DB) - self._ABOVE_DB
        speech: Floats = (1 / (1 + np.exp(-above / self._SLOPE_DB))).astype(np.float32)
        return speech
