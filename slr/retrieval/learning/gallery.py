"""The clips that validation and test search: embedded batch by batch, gathered over processes, taken split by split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from slr.models.dual_encoder import Embedded, join_embedded
from slr.retrieval.learning.data import QueryText


class Searched(NamedTuple):
    """A gallery and the texts that are asked of it.

    scores: (Q, G) float32, higher is better.
    queries: Q texts.
    ids: (G,) clip ids.
    groups: (G,) group of each clip, "SPLIT/…".
    within_training: intervals aren't worth their time then.
    """

    scores: NDArray[np.float32]
    queries: Sequence[QueryText]
    ids: Sequence[str]
    groups: Sequence[str]
    within_training: bool = False


Measure = Callable[[Searched], dict[str, Any]]
"""Figures of one split; those at the top level that are numbers are logged."""


def single_numbers(figures: dict[str, Any]) -> dict[str, float]:
    """The figures at the top level that are single numbers, those worth a line in a log."""
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


class GalleryPart(NamedTuple):
    """Embedded clips of one batch, on the CPU."""

    embedded: Embedded
    groups: list[str]
    ids: list[str]


def all_ranks(parts: list[GalleryPart]) -> list[GalleryPart]:
    """The parts of all processes, each clip once: a sampler gives some clips to two ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return parts
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, parts)
    return [part for some in gathered for part in some]


def of_split(parts: Sequence[GalleryPart], split: str) -> GalleryPart:
    """The clips of a split as one part, each once."""
    if not parts:
        return GalleryPart(Embedded(torch.zeros(0, 1, 1), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1)), [], [])
    joined = join_embedded([part.embedded for part in parts])
    names = [(group, name) for part in parts for group, name in zip(part.groups, part.ids, strict=True)]
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    kept = [row for row, (group, name) in enumerate(names)
            if group.split("/", maxsplit=1)[0] == split and first[group, name] == row]  # fmt: skip
    return GalleryPart(
        Embedded(*(value[kept] for value in joined)), [names[row][0] for row in kept], [names[row][1] for row in kept]
    )
