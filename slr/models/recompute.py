"""Layers whose activations the backward pass computes again, without their norms counting a batch twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slr.models.masking import MaskedBatchNorm


def recomputed(part: Callable[..., Tensor], *values: Any, norms_of: nn.Module) -> Tensor:
    """`part(*values)`, of which only the values are kept for the backward pass.

    Args:
        part: what to run, twice.
        values: its arguments.
        norms_of: the module that holds its batch norms.
    """
    found: Tensor = checkpoint(part, *values, use_reentrant=False, context_fn=_contexts(norms_of))
    return found


def _contexts(module: nn.Module) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    return lambda: (nullcontext(), _without_tracking(module))


@contextmanager
def _without_tracking(module: nn.Module) -> Iterator[None]:
    """A layer that runs a second time for its gradient must not count its batch twice."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d | MaskedBatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum  # type: ignore[assignment]
