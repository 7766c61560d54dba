"""The frames of a padded batch as rows, without the padding: what a network that looks at single frames runs on.

M stands for the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from slr.models.masking import valid_steps


class FramePlaces(NamedTuple):
    """Which frame each row is, clip by clip and in time's order.

    source: (M,) int64, place of the frame among B * T.
    place: (M,) int64, where the row belongs among B * T; it differs from `source` only past a clip's end, where a row
        repeats the clip's last frame.
    valid: (B, T) bool, true on a clip's frames.
    """

    source: Tensor
    place: Tensor
    valid: Tensor

    def take(self, values: Tensor) -> Tensor:
        """(M, …) rows of (B, T, …) values of any type."""
        return values.flatten(0, 1).index_select(0, self.source)

    def spread(self, rows: Tensor) -> Tensor:
        """(B, T, …), the rows where they belong, zero past each clip. rows: (M, …) float."""
        flat = rows.new_zeros(self.valid.numel(), *rows.shape[1:]).index_copy(0, self.place, rows)
        values = flat.reshape(*self.valid.shape, *rows.shape[1:])
        return torch.where(self.valid.reshape(*self.valid.shape, *[1] * (rows.ndim - 1)), values, 0)

    def collect(self, values: Tensor) -> Tensor:
        """(M, …), the way back from `spread`."""
        return values.flatten(0, 1).index_select(0, self.place)

    def neighbours(self) -> tuple[Tensor, Tensor]:
        """The rows of the frames before and after each row's own: two of (M,) int64; a clip's ends have themselves."""
        here, size = self.place, self.valid.shape[1]
        follows = (here[1:] == here[:-1] + 1) & (here[1:] % size != 0) & self.valid.flatten()[here[1:]]
        step = follows.to(torch.int64)
        edge = step.new_zeros(1)
        rows = torch.arange(len(here), device=here.device)
        return rows - torch.cat([edge, step]), rows + torch.cat([step, edge])


def find_places(num_frames: Tensor, size: int, *, num_valid: int | None = None) -> FramePlaces:
    """Rows for the frames of a batch.

    With `num_valid` the padding is left out and nobody waits for the device. Without it a CPU counts for itself; on
    another device all B * T frames become rows, and those past a clip's end repeat its last frame, so that a norm's
    statistics see pictures alone.

    Args:
        num_frames: (B,) int64, from 1 to `size`.
        size: T.
        num_valid: the sum of num_frames.

    Raises:
        RuntimeError: num_valid isn't that sum.
    """
    valid = valid_steps(num_frames, size)
    if num_valid is not None:
        torch._assert_async((num_frames.sum() == num_valid).all(), "num_valid must be the sum of num_frames")
        place = torch.nonzero_static(valid.flatten(), size=num_valid)[:, 0]
        return FramePlaces(place, place, valid)
    if num_frames.device.type == "cpu" and not torch.compiler.is_compiling():
        place = valid.flatten().nonzero()[:, 0]
        return FramePlaces(place, place, valid)
    steps = torch.arange(size, device=num_frames.device)
    starts = torch.arange(len(num_frames), device=num_frames.device)[:, None] * size
    return FramePlaces((starts + steps.minimum(num_frames[:, None] - 1)).flatten(), (starts + steps).flatten(), valid)
