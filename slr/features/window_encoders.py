"""Encoders of sliding windows: a clip in, one vector for each window that is kept, and no work for the others.

Windows are independent of each other, so encoding only those that a model looks at gives what encoding all and leaving
most out gives. It gives the very same bits, because every pass of the network has as many windows, the last pass being
filled up: what a kernel makes of a row then depends on nothing else. This holds on CPUs, whose kernels choose their way
by shape; on GPUs, equal up to round-off is all that the libraries promise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from signwave.errors import ArtefactError, ConfigError, UserError
from slr.features.encoders import digest_of
from slr.features.windows import SlidingWindows
from slr.models.interface import Reads

Precision = Literal["fp16", "bf16", "fp32"]

ISOLATED = "isolated:"
WINDOW_FRAMES = 16
"""Where nothing else is asked for."""
_FORMAT = 1  # goes into the digest: raise it whenever the same spec and weights give other features
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_ON_CPU, _ON_GPU = 4, 32


class WindowEncoder(nn.Module, ABC):
    """A frozen encoder of windows: always in evaluation mode, without gradients.

    Attributes:
        reads: what windows hold, see slr.models.interface.Reads.
        dim: D of the features.
        window_frames: frames of a window.
        size_px: (height, width) that frames are best read at; None where none are read.
        rate_hz: frames a second that it was trained on; None where it doesn't say.
        batch_windows: windows, or pictures one by one, that go through the network at once; None takes what suits the
            device.
        precision: of the network on a GPU; a CPU computes in float32.
    """

    reads: Reads
    dim: int
    window_frames: int
    size_px: tuple[int, int] | None = None
    rate_hz: float | None = None
    batch_windows: int | None = None
    precision: Precision = "fp16"

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Plain values from which `build_window_encoder` builds it again, without its weights."""

    def digest(self) -> str:
        """SHA-256 over the spec and every weight: equal digests give equal features."""
        return digest_of([_FORMAT, self.spec], self)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> WindowEncoder:
        """Stays in evaluation mode, whatever the module around it does."""
        super().train(False)
        return self

    def encode(self, windows: Tensor, *, points: Tensor | None = None) -> Tensor:
        """(N, D) float32, one vector a window, all in one pass.

        Args:
            windows: (N, window_frames, …) of what it reads, on its device; frames are uint8 of any size.
            points: (N, window_frames, 63, 3) float32 keypoints beside frames.
        """
        with torch.no_grad(), self._autocast():
            return self._encode(windows, points).float()

    def encode_clip(self, inputs: Tensor, windows: SlidingWindows, *, points: Tensor | None = None) -> Tensor:
        """(M, D) float32 on its device, the windows that are kept; each frame that they show is sent there once.

        Args:
            inputs: (T, …) the clip on any device, T at least 1.
            windows: of `window_frames` frames.
            points: (T, 63, 3) float32 keypoints beside frames.

        Raises:
            ConfigError: the windows have another length.
            UserError: keypoints are read and missing.
        """
        if windows.window_frames != self.window_frames:
            raise ConfigError(
                f"windows of {windows.window_frames} frames: this encoder takes {self.window_frames}; give --window "
                f"{self.window_frames}"
            )
        if self.reads == "frames+keypoints" and points is None:
            raise UserError(
                "no keypoints beside the video, and this encoder reads both; prepare the corpus with --poses"
            )
        shown, rows = np.unique(windows.frames(len(inputs)), return_inverse=True)
        frames, places = torch.from_numpy(shown), torch.from_numpy(rows.reshape(-1, windows.window_frames))

        def sent(part: Tensor) -> Tensor:
            return part[frames.to(part.device)].to(self.device, non_blocking=True)

        with torch.no_grad(), self._autocast():
            beside = None if points is None else sent(points)
            return self._encode_rows(sent(inputs), beside, places.to(self.device)).float()

    def in_batches(self, rows: Tensor, encode: Callable[[Tensor], Tensor], *, factor: int = 1) -> Tensor:
        """(M, D) float of M rows, so many at a time; the last pass is filled up, see above.

        Args:
            rows: (M, …).
            encode: (N, D) float of N rows.
            factor: how many times as many as of windows, unless `batch_windows` says how many.
        """
        size = self.batch_windows or factor * (_ON_GPU if self.device.type == "cuda" else _ON_CPU)
        found = []
        for part in torch.split(rows, size):
            filled = torch.cat([part, part[:1].expand(size - len(part), *part.shape[1:])])
            found.append(encode(filled)[: len(part)])
        return torch.cat(found)

    def _autocast(self) -> torch.autocast:
        half = self.device.type == "cuda" and self.precision != "fp32"
        return torch.autocast("cuda", dtype=_DTYPES.get(self.precision), enabled=half)

    @abstractmethod
    def _encode(self, windows: Tensor, points: Tensor | None) -> Tensor:
        """(N, D) float; arguments as of `encode`."""

    def _encode_rows(self, inputs: Tensor, points: Tensor | None, rows: Tensor) -> Tensor:
        """(M, D) float. inputs: (F, …) frames; points: (F, 63, 3); rows: (M, window_frames) int64, places in them."""
        return self.in_batches(rows, lambda part: self._encode(inputs[part], None if points is None else points[part]))


def load_window_encoder(
    name: str, *, weights: str | Path | None = None, window_frames: int | None = None
) -> WindowEncoder:
    """Make an encoder from what lies on this machine.

    Args:
        name: "torchvision:MODEL", of pictures or videos; "transformers:FOLDER"; "i3d", of BSL's sign recognisers and
            CiCo, or "i3d:kinetics", which differ in the range of the pixels; "isolated:RUN", the trunk of a run of a
            recipe *_islr, which reads frames, keypoints or both.
        weights: for torchvision and i3d: a local file (.pth, .pt, .pth.tar or .safetensors), or "random".
        window_frames: frames of a window; 16, or what a model was made for, by default.

    Raises:
        ConfigError: no such encoder, no weights for it, or it can't look at such windows.
        ArtefactError: the weights don't fit.
    """
    from slr.features.window_backbones import FrameWindows, load_isolated

    if name.startswith(ISOLATED):
        if weights is not None:
            raise ConfigError(f"encoder '{name}' brings its own weights; leave --weights {weights} out")
        encoder: WindowEncoder = load_isolated(name.removeprefix(ISOLATED))
    else:
        from slr.features.loading import load_encoder, with_window

        frames = load_encoder(name, weights=weights, stride=1)
        if frames.spec.is_video and window_frames is not None:
            frames = with_window(frames, window_frames)
        size = frames.spec.window_frames if frames.spec.is_video else window_frames or WINDOW_FRAMES
        encoder = FrameWindows(frames, window_frames=size)
    if window_frames not in (None, encoder.window_frames):
        raise ConfigError(
            f"windows of {window_frames} frames: {name} was trained on {encoder.window_frames}; give --window "
            f"{encoder.window_frames}"
        )
    return encoder


def build_window_encoder(spec: Mapping[str, Any]) -> WindowEncoder:
    """Build an encoder again, with random weights, into which its `state_dict()` can be loaded.

    Args:
        spec: `WindowEncoder.spec`, maybe through JSON.

    Raises:
        ArtefactError: no such kind, or keys are missing or unknown.
    """
    from slr.features.window_backbones import KINDS

    try:
        return KINDS[spec["kind"]](spec)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"stored encoder can't be read ({error}); use the version that wrote it") from None
