"""Contrastive batches over several processes: each scores its own clips against everyone's texts, and nothing twice.

Tokens of texts are gathered with their gradient; the rows of scores, which are small, are gathered as they are. Every
process then knows the whole matrix and the same loss, of which it differentiates its own rows; times the number of
processes, the average that DDP takes is the gradient of one process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from slr.models.dual_encoder import Embedded


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_texts(texts: Embedded) -> Embedded:
    """The texts of all processes, in their order, with a gradient for everyone's own."""
    if world_size() == 1:
        return texts
    shapes = _all(torch.tensor(texts.tokens.shape[:2], device=texts.tokens.device)).view(-1, 2)
    longest = int(shapes[:, 1].max())
    sizes: list[int] = shapes[:, 0].tolist()
    tokens = functional.pad(texts.tokens, (0, 0, 0, longest - texts.tokens.shape[1]))
    return Embedded(_gathered(tokens, sizes), gather_plain(texts.num_tokens, sizes), _gathered(texts.pooled, sizes))


def gather_vectors(vectors: Tensor) -> Tensor:
    """(sum of A, D), the vectors (A, D) of all processes, with a gradient for everyone's own."""
    if world_size() == 1:
        return vectors
    return _gathered(vectors, _sizes(vectors))


def gather_rows(*rows: Tensor) -> list[Tensor]:
    """Rows (A, C) of all processes as whole matrices; only one's own rows have a gradient."""
    if world_size() == 1:
        return list(rows)
    sizes = _sizes(rows[0])
    return [_GatheredRows.apply(some, sizes) for some in rows]  # type: ignore[no-untyped-call]


def gather_plain(values: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """Values (A, …) of all processes, in their order, without a gradient."""
    if world_size() == 1:
        return values
    return _cat(values, sizes or _sizes(values))


class _Gathered(torch.autograd.Function):
    """What everyone has; the gradient of one's own is the sum of what everyone found."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _cat(values, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return _own(total, ctx.sizes), None


def _gathered(values: Tensor, sizes: list[int]) -> Tensor:
    gathered: Tensor = _Gathered.apply(values, sizes)  # type: ignore[no-untyped-call]
    return gathered


class _GatheredRows(torch.autograd.Function):
    """What everyone has; the gradient of one's own is what this process found."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _cat(values, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _own(gradients[0], ctx.sizes), None


def _cat(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Values of all processes one after the other; each has as many rows as `sizes` says."""
    most = max(sizes)
    padded = values.new_zeros((most, *values.shape[1:]))
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _own(total: Tensor, sizes: Sequence[int]) -> Tensor:
    rank = dist.get_rank()
    start = sum(sizes[:rank])
    return total[start : start + sizes[rank]].contiguous()


def _sizes(values: Tensor) -> list[int]:
    sizes: list[int] = _all(torch.tensor([len(values)], device=values.device)).tolist()
    return sizes


def _all(values: Tensor) -> Tensor:
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values)
    return torch.cat(parts)
