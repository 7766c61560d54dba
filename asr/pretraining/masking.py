"""Which frames are masked and which masked frames are negatives: whole batches at once, on the device of the batch.

Spans follow fairseq's rule (`compute_mask_indices`, static lengths, overlaps allowed, rows trimmed to the shortest);
everything is drawn from one `torch.Generator`, so the same seed on the same kind of device gives the same masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from signwave.errors import ConfigError

_NEVER = 2.0  # sorts behind every draw from [0, 1)


@dataclass(frozen=True)
class SpanSettings:
    """How much is masked; the defaults are wav2vec 2.0's and leave about half of the frames.

    Attributes:
        probability: spans × length over frames, before overlaps.
        length: frames of a span.
        min_spans: of each clip, however short.
    """

    probability: float = 0.65
    length: int = 10
    min_spans: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1 or self.length < 1 or self.min_spans < 0:
            raise ConfigError(
                "masks: probability must lie in (0, 1], length be at least 1 and min_spans at least 0, got "
                f"{self.probability}, {self.length}, {self.min_spans}"
            )


class Masked(NamedTuple):
    """The masked frames of a batch, in time order.

    positions: (B, M) int64, frame of each masked position; 0 where not valid.
    valid: (B, M) bool; all True when the clips have equally many, which trimmed spans have.
    """

    positions: Tensor
    valid: Tensor

    @property
    def counts(self) -> Tensor:
        """(B,) int64, masked frames of each clip."""
        return self.valid.sum(1)

    def take(self, frames: Tensor) -> Tensor:
        """(B, M, D) of (B, T, D): the masked frames, those that aren't valid repeat frame 0."""
        return frames.gather(1, self.positions[..., None].expand(-1, -1, frames.shape[2]))


def sample_spans(
    num_steps: Tensor, size: int, settings: SpanSettings, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw masked spans.

    A clip of n frames gets floor(probability * n / length + u) spans, u uniform in [0, 1), but at least min_spans. They
    start at distinct frames of [0, n - length), or of [0, spans] where that is less, and end with the clip.
    Every clip keeps as many masked frames as the one that has fewest, chosen at random.

    Args:
        num_steps: (B,) int64, valid frames.
        size: T.
        settings: how much.
        generator: on the device of num_steps.

    Returns:
        (B, T) bool, True where masked; never past num_steps.
    """
    device, batch = num_steps.device, len(num_steps)
    uniform = torch.rand(batch, device=device, generator=generator, dtype=torch.float64)
    num_spans = (settings.probability * num_steps / settings.length + uniform).floor().long()
    num_spans = num_spans.clamp(min=settings.min_spans)
    num_starts = torch.maximum(num_steps - settings.length, num_spans + 1)
    width = size + settings.min_spans + 1  # a clip shorter than its spans may start them past its end
    starts = _choose(_columns(width, device) < num_starts[:, None], num_spans, generator)
    begun = starts.long().cumsum(1)[:, :size]
    ended = torch.nn.functional.pad(begun, (settings.length, 0))[:, :size]
    mask = (begun > ended) & (_columns(size, device) < num_steps[:, None])
    counts = mask.sum(1)
    return _choose(mask, counts.min().expand(batch), generator)


def masked_positions(mask: Tensor) -> Masked:
    """The frames of a (B, T) bool mask, packed to the left."""
    counts = mask.sum(1)
    most = int(counts.max()) if mask.numel() else 0
    positions = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    valid = _columns(most, mask.device) < counts[:, None]
    return Masked(positions.masked_fill(~valid, 0), valid)


def sample_negatives(counts: Tensor, num_negatives: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw negatives for each masked position: other masked positions of the same clip, uniformly, with replacement.

    Args:
        counts: (B,) int64, masked positions of each clip.
        num_negatives: K.
        generator: on the device of counts.

    Returns:
        (B, M, K) int64 in [0, count), never the position itself, M the largest count. Rows past a clip's count, and
        those of a clip with a single position, hold anything in [0, M].
    """
    most = int(counts.max())
    uniform = torch.rand(len(counts), most, num_negatives, device=counts.device, generator=generator)
    others = (counts - 1).clamp(min=0)[:, None, None]
    # A draw near 1 may round up to the number of others.
    drawn = torch.minimum((uniform * others).long(), (others - 1).clamp(min=0))
    own = _columns(most, counts.device)[:, :, None]
    return drawn + (drawn >= own)


def _columns(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, device=device)[None, :]


def _choose(allowed: Tensor, how_many: Tensor, generator: torch.Generator | None) -> Tensor:
    """(B, T) bool: how_many[b] of the allowed places of each row, uniformly without replacement."""
    keys = torch.rand(allowed.shape, device=allowed.device, generator=generator).masked_fill(~allowed, _NEVER)
    ranks = torch.empty_like(keys, dtype=torch.int64)
    ranks.scatter_(1, keys.argsort(dim=1), _columns(keys.shape[1], keys.device).expand_as(keys))
    return (ranks < how_many[:, None]) & allowed
