"""Batches move themselves and print shapes."""

import dataclasses
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from signwave.batch import Batch
from signwave.errors import MediaError


@dataclass(frozen=True, repr=False)
class Toy(Batch):
    features: Tensor
    num_frames: Tensor
    ids: tuple[str, ...]


def toy() -> Toy:
    return Toy(torch.zeros(2, 5, 3), torch.tensor([5, 3]), ("a", "b"))


def test_repr_shows_shapes_not_numbers() -> None:
    assert repr(toy()) == "Toy(features=float32[2, 5, 3], num_frames=int64[2], ids=('a', 'b'))"
    assert len(toy()) == 2


def test_to_moves_every_tensor_and_keeps_the_rest() -> None:
    moved = toy().to("meta")
    assert moved.features.device.type == "meta"
    assert moved.num_frames.device.type == "meta"
    assert moved.ids == ("a", "b")


def test_check_names_the_contradiction() -> None:
    toy().check()
    broken = dataclasses.replace(toy(), num_frames=torch.tensor([5]))
    with pytest.raises(ValueError, match="mixes numbers of items"):
        broken.check()


def test_media_error_crosses_process_borders() -> None:
    error = pickle.loads(
        pickle.dumps(MediaError("a.mp4", "cut", frames_obtained=5, frames_announced=9, kind="truncated"))
    )
    assert (str(error), error.frames_obtained, error.kind) == ("a.mp4: cut", 5, "truncated")
