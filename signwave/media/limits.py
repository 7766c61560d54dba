"""Caps that are checked on what a file announces before it is decoded, and again on what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from signwave.errors import MediaError


@dataclass(frozen=True)
class Limits:
    """What one file may cost; a file of a few kilobytes can announce, or hold, a hundred thousand times its size."""

    max_seconds: float = 4 * 3600.0
    max_frames: int = 500_000
    max_pixels: int = 4096 * 4096
    """Height times width of one stored picture."""
    max_channels: int = 32
    max_bytes: int = 4 * 2**30
    """Decoded bytes one call may return, and unpacked bytes one archive member may have."""

    def check_picture(self, path: str | Path, *, height_px: int, width_px: int) -> None:
        """Refuse a picture that is larger than `max_pixels`."""
        if height_px * width_px > self.max_pixels:
            self._refuse(path, f"pictures of {width_px} x {height_px} pixels", f"max_pixels={self.max_pixels}")

    def check_frames(self, path: str | Path, num_frames: int) -> None:
        """Refuse more frames than `max_frames`."""
        if num_frames > self.max_frames:
            self._refuse(path, f"{num_frames} frames", f"max_frames={self.max_frames}")

    def check_seconds(self, path: str | Path, seconds: float) -> None:
        """Refuse a longer file than `max_seconds`."""
        if seconds > self.max_seconds:
            self._refuse(path, f"{seconds:.0f} s", f"max_seconds={self.max_seconds:.0f}")

    def check_channels(self, path: str | Path, num_channels: int) -> None:
        """Refuse more audio channels than `max_channels`."""
        if num_channels > self.max_channels:
            self._refuse(path, f"{num_channels} channels", f"max_channels={self.max_channels}")

    def check_bytes(self, path: str | Path, num_bytes: int) -> None:
        """Refuse a result of more than `max_bytes`."""
        if num_bytes > self.max_bytes:
            self._refuse(path, f"{num_bytes / 2**20:.0f} MiB decoded", f"max_bytes={self.max_bytes}")

    def _refuse(self, path: str | Path, given: str, limit: str) -> None:
        name = limit.split("=", maxsplit=1)[0]
        raise MediaError(
            path,
            f"{given}, over the limit {limit}; read a shorter span or a smaller size, or pass Limits({name}=…)",
            kind="too_large",
        )


DEFAULT_LIMITS = Limits()
