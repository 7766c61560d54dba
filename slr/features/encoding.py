"""How a clip becomes the rows of a cache: the steps of a frame encoder, or the windows of a window encoder."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.errors import ConfigError, MediaError
from signwave.manifest import Clip
from slr.features.cache_files import CacheHeader, HalfArray
from slr.features.encoders import FrameEncoder
from slr.features.window_encoders import WindowEncoder
from slr.features.windows import SlidingWindows
from slr.reading import Needs, Reading

_LEAST_VALUE = 1e-3  # half precision keeps two digits of it; some untrained networks give 1e-8
_LEAST_AREA, _ASPECT = 0.7, (0.75, 1.33)  # crops as TwoStream-SLR draws them


class Encoding(Protocol):
    """Makes the features of clips.

    Attributes:
        header: of the cache.
        needs: how clips are read.
    """

    @property
    def header(self) -> CacheHeader: ...

    @property
    def needs(self) -> Needs: ...

    def __call__(self, clip: Clip, reading: Reading) -> list[HalfArray]:
        """(T', D) float16 of each variant.

        Raises:
            UserError: the clip can't be encoded.
        """


@dataclass(frozen=True)
class Variants:
    """Variant 0 shows whole pictures, the others crops of them.

    Attributes:
        num: variants.
        flip: share of the crops that are mirrored.
    """

    num: int = 1
    flip: float = 0.0

    def __post_init__(self) -> None:
        if self.num < 1 or not 0 <= self.flip <= 1:
            raise ValueError(f"num_variants must be at least 1 and flip in [0, 1], got {self.num} and {self.flip}")

    def __call__(self, frames: Tensor, clip_id: str, variant: int) -> Tensor:
        """(T, 3, H', W') uint8. frames: (T, 3, H, W) uint8."""
        return frames if variant == 0 else crop(frames, clip_id, variant, flip=self.flip)


class StepEncoding:
    """Frames → one row for every so many of them.

    Args:
        encoder: frozen backbone.
        rate_hz: frames a second.
        variants: of each clip.
        device: cpu, cuda or cuda:N.
    """

    def __init__(self, encoder: FrameEncoder, *, rate_hz: float, variants: Variants, device: str) -> None:
        self.header = CacheHeader(encoder.spec.to_dict(), encoder.digest(), rate_hz, variants.num, variants.flip)
        self.needs = Needs("frames", rate_hz, encoder.spec.size_px)
        self.encoder, self.variants, self.device = encoder.to(device), variants, device

    def __call__(self, clip: Clip, reading: Reading) -> list[HalfArray]:
        """(T', D) float16 of each variant."""
        pixels = torch.from_numpy(reading.inputs).to(self.device, non_blocking=True)
        num_frames = torch.tensor([len(pixels)], device=self.device)
        half = torch.autocast("cuda", dtype=torch.float16, enabled=self.device.startswith("cuda"))
        results = []
        for variant in range(self.variants.num):
            with torch.inference_mode(), half:
                shown = self.variants(pixels, clip.id, variant)[None]
                results.append(_halved(self.encoder(shown, num_frames).features[0], clip))
        return results


class WindowEncoding:
    """Frames, keypoints or both → one row for each window that is kept; the others are never looked at.

    Args:
        encoder: frozen encoder.
        windows: which windows.
        rate_hz: frames a second.
        variants: of each clip; more than one where only frames are read.
        device: cpu, cuda or cuda:N.

    Raises:
        ConfigError: the encoder was trained at another rate or on other windows, or there can't be crops.
    """

    def __init__(
        self, encoder: WindowEncoder, windows: SlidingWindows, *, rate_hz: float, variants: Variants, device: str
    ) -> None:
        if encoder.rate_hz not in (None, rate_hz):
            raise ConfigError(
                f"{rate_hz:g} frames a second: the encoder was trained at {encoder.rate_hz:g}; give --rate-hz "
                f"{encoder.rate_hz:g}"
            )
        if windows.window_frames != encoder.window_frames:
            raise ConfigError(f"{windows}: the encoder takes windows of {encoder.window_frames} frames")
        if variants.num > 1 and encoder.reads != "frames":
            raise ConfigError(
                f"{variants.num} variants: they are crops of pictures, and this encoder reads {encoder.reads}; leave "
                "--num-variants out"
            )
        self.header = CacheHeader(encoder.spec, encoder.digest(), rate_hz, variants.num, variants.flip, windows)
        self.needs = Needs(encoder.reads, rate_hz, encoder.size_px)
        self.encoder, self.windows, self.variants = encoder.to(device), windows, variants
        self.device = device

    def __call__(self, clip: Clip, reading: Reading) -> list[HalfArray]:
        """(M, D) float16 of each variant."""
        if self.encoder.reads == "frames+keypoints" and reading.points is None:
            reason = "has no keypoints beside it, and this encoder reads both; prepare the corpus with --poses"
            raise MediaError(clip.path, reason, kind="missing")
        inputs = torch.from_numpy(np.ascontiguousarray(reading.inputs))
        points = None if reading.points is None else torch.from_numpy(np.ascontiguousarray(reading.points))
        results = []
        for variant in range(self.variants.num):
            shown = self.variants(inputs, clip.id, variant)
            results.append(_halved(self.encoder.encode_clip(shown, self.windows, points=points), clip))
        return results


def encoding_of(
    encoder: FrameEncoder | WindowEncoder,
    windows: SlidingWindows | None,
    *,
    rate_hz: float,
    variants: Variants,
    device: str,
) -> Encoding:
    """Steps, or the windows of a window encoder; None of them takes its default ones."""
    if isinstance(encoder, WindowEncoder):
        windows = windows or SlidingWindows(encoder.window_frames)
        return WindowEncoding(encoder, windows, rate_hz=rate_hz, variants=variants, device=device)
    if windows is not None:
        raise ValueError("a FrameEncoder has steps and no windows; use load_window_encoder")
    return StepEncoding(encoder, rate_hz=rate_hz, variants=variants, device=device)


def _halved(features: Tensor, clip: Clip) -> HalfArray:
    """Features in half precision, refused where that loses them."""
    found: NDArray[Any] = features.half().cpu().numpy()
    if not np.isfinite(found).all():
        raise MediaError(clip.path, "its features hold NaN or values beyond float16; leave the clip out")
    if np.abs(found).max() < _LEAST_VALUE:
        raise MediaError(clip.path, "its features vanish in half precision; the encoder has no usable weights")
    return found


def crop(frames: Tensor, clip_id: str, variant: int, *, flip: float) -> Tensor:
    """One crop for the whole clip, chosen by its id and the variant alone.

    Args:
        frames: (…, H, W) uint8.
        clip_id: of the clip.
        variant: at least 1.
        flip: probability of mirroring.

    Returns:
        (…, H', W') uint8, at least 0.7 of the area.
    """
    seed = hashlib.sha256(f"{variant} {clip_id}".encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    area, aspect = rng.uniform(_LEAST_AREA, 1), math.exp(rng.uniform(*np.log(_ASPECT)))
    height, width = frames.shape[-2:]
    tall = min(height, max(1, round(height * math.sqrt(area / aspect))))
    wide = min(width, max(1, round(width * math.sqrt(area * aspect))))
    top, left = (round(rng.uniform(0, full - part)) for full, part in ((height, tall), (width, wide)))
    part = frames[..., top : top + tall, left : left + wide]
    return part.flip(-1) if rng.uniform() < flip else part
