"""A batch is a frozen dataclass that moves and pins itself and prints shapes instead of numbers."""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Self = TypeVar("Self", bound="Batch")


class Encoded(NamedTuple):
    """What every CTC model returns.

    log_probs: (B, T, V) float32, natural log, V[0] is the blank; steps past num_steps hold anything.
    num_steps: (B,) int64, valid steps of each item.
    """

    log_probs: Tensor
    num_steps: Tensor


@dataclass(frozen=True)
class Batch:
    """Base of every batch type. Fields are tensors (items first) and plain values such as ids.

    Declare a subclass with `@dataclass(frozen=True, repr=False)`, or the dataclass prints a million numbers.
    """

    def _map_tensors(self: Self, function: Any) -> Self:
        changes = {
            spec.name: function(value)
            for spec in dataclasses.fields(self)
            if isinstance(value := getattr(self, spec.name), Tensor)
        }
        return dataclasses.replace(self, **changes)

    def to(self: Self, device: torch.device | str, *, non_blocking: bool = True) -> Self:
        """The same batch with its tensors on `device`."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: Self) -> Self:
        """The same batch in page-locked memory, for an asynchronous copy to a GPU."""
        return self._map_tensors(lambda tensor: tensor.pin_memory())

    def __len__(self) -> int:
        """Number of items: the first dimension of the first tensor."""
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, Tensor):
                return int(value.shape[0])
        raise ValueError(f"{type(self).__name__} holds no tensor, so it has no number of items")

    def __repr__(self) -> str:
        parts = []
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, Tensor):
                value = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
            parts.append(f"{spec.name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def check(self) -> None:
        """Raise ValueError if the fields contradict each other; called in tests and by --smoke."""
        sizes = {
            spec.name: int(value.shape[0])
            for spec in dataclasses.fields(self)
            if isinstance(value := getattr(self, spec.name), Tensor) and value.dim() > 0
        }
        if len(set(sizes.values())) > 1:
            raise ValueError(f"{type(self).__name__} mixes numbers of items: {sizes}")
