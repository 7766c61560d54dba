"""The batch that sign recognisers train on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from signwave.layers import take_frames
from signwave.training.ctc_module import CtcBatch

UNKNOWN_FRAME = -1
"""Frame label where nobody knows what is signed."""


@dataclass(frozen=True, repr=False)
class SignBatch(CtcBatch):
    """Clips with their glosses; the fields of CtcBatch and what recognition of signs needs beside them.

    inputs: (B, T, …), what the model reads (slr.models.interface.Reads); pixels are uint8; zero past the clip.
    frame_labels: (B, T) int64, token signed in each frame, 0 between two signs, -1 where unknown and past the clip.
    points: (B, T, 63, 3) float32 keypoints beside frames, zero past the clip; None where the model reads one stream.
    chances: (B, R) float32 in [0, 1), from which augmentation on the device is made; None where there is none.
    take: (B, T') int64, frames that a change of tempo leaves, by number; 0 past num_frames, which counts them. None
        where nothing was changed.
    num_valid: the sum of num_frames, known without asking the device.
    texts: the glosses as they are scored; () where the labels say it all.
    corpus: the auxiliary corpus that the batch is from; "" for the target's.
    """

    frame_labels: Tensor
    points: Tensor | None = None
    chances: Tensor | None = None
    take: Tensor | None = None
    num_valid: int = 0
    texts: tuple[str, ...] = ()
    corpus: str = ""

    def check(self) -> None:
        """Raise ValueError if the fields contradict each other."""
        if self.take is not None and int(self.take.max()) >= self.inputs.shape[1]:
            raise ValueError(f"take must lie below {self.inputs.shape[1]} frames, got {int(self.take.max())}")
        self.resampled()._check_lengths()

    def _check_lengths(self) -> None:
        super().check()

    def resampled(self) -> SignBatch:
        """The batch at its changed tempo: each stream holds the frames of `take`. Made on the device that it is on."""
        if self.take is None:
            return self
        return dataclasses.replace(
            self,
            inputs=take_frames(self.inputs, self.take, self.num_frames),
            frame_labels=take_frames(self.frame_labels, self.take, self.num_frames, fill=UNKNOWN_FRAME),
            points=None if self.points is None else take_frames(self.points, self.take, self.num_frames),
            take=None,
        )
