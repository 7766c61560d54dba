"""The temporal feature pyramid of TwoStream-SLR: finer blocks hear from coarser ones and get CTC heads of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from signwave.batch import Encoded
from slr.models.masking import mask_time
from slr.models.s3d_layers import ConvNorm, Stage, lay_channels_last
from slr.models.s3d_trunk import S3dTrunk
from slr.models.slr_head import SlrHead, pool_space

NUM_LEVELS = 3


class Upsampling(nn.Module):
    """Transposed convolutions, over space and then over time, that bring a block to the size of the one before it."""

    def __init__(self, in_channels: int, out_channels: int, *, time_scale: int, momentum: float) -> None:
        super().__init__()
        space = nn.ConvTranspose3d(
            in_channels, out_channels, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1), output_padding=(0, 1, 1), bias=False
        )
        time = nn.ConvTranspose3d(
            out_channels,
            out_channels,
            (3, 1, 1),
            (time_scale, 1, 1),
            padding=(1, 0, 0),
            output_padding=(time_scale - 1, 0, 0),
            bias=False,
        )
        self.space, self.time = ConvNorm(space, momentum=momentum), ConvNorm(time, momentum=momentum)

    def forward(self, coarse: Stage, fine: Stage) -> Tensor:
        """(B, C, T', H', W') float, of the shape of `fine`, anything past its num_steps."""
        hidden = self.space(coarse.values, coarse.num_steps)
        # Odd sizes were rounded up on the way down.
        hidden = hidden[..., : fine.values.shape[3], : fine.values.shape[4]]
        hidden = mask_time(hidden, coarse.num_steps, dim=2)
        conv, norm = self.time
        raised: Tensor = norm(conv(hidden)[:, :, : fine.values.shape[2]], fine.num_steps).relu()
        return raised


class Pyramid(nn.Module):
    """Heads on the two blocks before a trunk's last one; the last one's features only flow into them.

    Args:
        trunk: whose blocks, at least three.
        vocab_size: tokens, the blank included.
        norm_momentum: as the trunk's.
        head: settings of the heads, see SlrHead.
    """

    def __init__(self, trunk: S3dTrunk, vocab_size: int, *, norm_momentum: float, **head: Any) -> None:
        super().__init__()
        if trunk.num_blocks < NUM_LEVELS:
            raise ValueError(f"a pyramid needs at least {NUM_LEVELS} blocks, got num_blocks={trunk.num_blocks}")
        channels, strides = trunk.block_channels[-NUM_LEVELS:], trunk.block_strides[-NUM_LEVELS:]
        self.names = pyramid_names(trunk.num_blocks)
        self.upsampling = nn.ModuleList(
            Upsampling(
                channels[level + 1],
                channels[level],
                time_scale=strides[level + 1] // strides[level],
                momentum=norm_momentum,
            )
            for level in range(NUM_LEVELS - 1)
        )
        lay_channels_last(self.upsampling)
        self.heads = nn.ModuleList(SlrHead(count, vocab_size, **head) for count in channels[:-1])

    def forward(self, stages: Sequence[Stage]) -> dict[str, Encoded]:
        """One head per finer block, by name. stages: outputs of all blocks of the trunk."""
        levels = list(stages[-NUM_LEVELS:])
        for level in reversed(range(NUM_LEVELS - 1)):
            fine = levels[level]
            levels[level] = Stage(fine.values + self.upsampling[level](levels[level + 1], fine), fine.num_steps)
        return {
            name: head(pool_space(stage), stage.num_steps)
            for name, head, stage in zip(self.names, self.heads, levels[:-1], strict=True)
        }


def pyramid_names(num_blocks: int) -> tuple[str, ...]:
    """Names of the heads, finest first: "c2" and "c3" of a trunk of four blocks."""
    return tuple(f"c{number}" for number in range(num_blocks - NUM_LEVELS + 1, num_blocks))
