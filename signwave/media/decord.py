"""Video through decord2: the fast path for short clips; whatever it can't do is done by PyAV.

decord reads a whole clip ahead, loses a whole batch to one bad frame, and fails on some sizes. It is therefore asked
only for clips whose packets PyAV has counted and found complete, and opened for one call at a time.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.media.frames import Pixels, span_mask
from signwave.media.pyav import PyavVideo

log = logging.getLogger(__name__)

AUTO_MAX_BYTES = 256 * 2**20
_BATCH_FRAMES = 64
_user_pids: dict[str, int] = {}


def available() -> bool:
    """Whether decord is installed, without importing it."""
    return importlib.util.find_spec("decord") is not None


class DecordVideo(PyavVideo):
    """A video file decoded by decord2 where that gives the frames PyAV counted.

    Args:
        max_decoded_bytes: larger clips go through PyAV, because decord holds them whole at the size they are stored in.
    """

    def __init__(self, path: str, file: str, *, max_decoded_bytes: int, **settings: Any) -> None:
        super().__init__(path, file, **settings)
        self._max_decoded_bytes = max_decoded_bytes

    def _decode(self, start_seconds: float, end_seconds: float | None) -> Iterator[tuple[float, Pixels]]:
        times = self._times()
        indices = np.flatnonzero(span_mask(times, start_seconds, end_seconds))
        if not self._worth_it(len(times)):
            yield from super()._decode(start_seconds, end_seconds)
            return
        for index, picture in self._decode_indices(indices):
            yield float(times[index]), picture

    def _decode_indices(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, Pixels]]:
        num_frames = len(self._times())
        done = 0
        if len(indices) and self._worth_it(num_frames):
            for index, picture in self._by_decord(indices, num_frames):
                done += 1
                yield index, picture
        if done < len(indices):
            yield from super()._decode_indices(indices[done:])

    def _worth_it(self, num_frames: int) -> bool:
        info = self.info
        complete = num_frames == info.announced_frames and _safe_here()
        return complete and num_frames * info.height_px * info.width_px * 3 <= self._max_decoded_bytes

    def _by_decord(self, indices: NDArray[np.int64], num_frames: int) -> Iterator[tuple[int, Pixels]]:
        """Yield as many frames as decord delivers without complaint."""
        module = _decord()
        reader = None
        try:
            reader = module.VideoReader(
                self._file,
                ctx=module.cpu(0),
                num_threads=self._num_threads,
                **({"height": self.height_px, "width": self.width_px} if self._size_px else {}),
            )
            if len(reader) != num_frames:
                return
            for first in range(0, len(indices), _BATCH_FRAMES):
                wanted = indices[first : first + _BATCH_FRAMES]
                pictures = reader.get_batch(wanted.tolist()).asnumpy()
                if pictures.shape[1:3] != (self.height_px, self.width_px):
                    return
                yield from zip(wanted.tolist(), pictures, strict=True)
        except (module.DECORDError, RuntimeError, AssertionError, ValueError, IndexError) as error:
            log.debug("%s: decord gave up, PyAV takes over: %s", self.path, error)
        finally:
            del reader  # its threads end here, in this process, whoever still holds the frame


def _safe_here() -> bool:
    """Whether decord may be used: not in a child of a process that used it, where its threads are gone."""
    return _user_pids.setdefault("first", os.getpid()) == os.getpid()


def _decord() -> Any:
    # A damaged file otherwise makes decord try again ten thousand times.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "128")
    module = importlib.import_module("decord")
    module.logging.set_level(module.logging.FATAL)
    return module
