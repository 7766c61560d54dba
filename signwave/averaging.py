"""One model from several of the same shape: the mean of their weights ("soup"), or of checkpoints of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from signwave.bundle import Bundle
from signwave.errors import ArtefactError, UserError

if TYPE_CHECKING:
    from torch import nn

_ENCODER = "encoder."


def average_states(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted mean of some state dicts.

    Args:
        states: of the same names and shapes.
        weights: one each; they are divided by their sum, and one may be negative to go beyond a model. None = equal.

    Returns:
        Floating values averaged in float64 and given back in the first one's type; whole numbers are the first one's.

    Raises:
        UserError: names or shapes differ, or the weights don't fit.
    """
    weights = [1.0] * len(states) if weights is None else list(weights)
    if not states or len(weights) != len(states) or sum(weights) == 0:
        raise UserError(f"weights {weights}: expected one for each of {len(states)} models, with a sum other than 0")
    first = states[0]
    for number, state in enumerate(states[1:], 2):
        odd = sorted(first.keys() ^ state.keys()) or [n for n in first if first[n].shape != state[n].shape]
        if odd:
            raise UserError(f"model {number} differs from the first in '{odd[0]}'; average models of one architecture")
    total = sum(weights)
    return {name: _mean([state[name] for state in states], [weight / total for weight in weights]) for name in first}


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    if not values[0].is_floating_point():
        return values[0].clone()
    mean = torch.zeros(values[0].shape, dtype=torch.float64)
    for value, share in zip(values, shares, strict=True):
        mean += share * value.double().cpu()
    return mean.to(values[0].dtype)


def average_models(out: str | Path, members: Sequence[str | Path], *, weights: Sequence[float] | None = None) -> str:
    """Write a bundle whose weights are the mean of some models'; returns its digest.

    Args:
        out: the new bundle folder.
        members: run or bundle folders; after the first also checkpoints (.ckpt) of such runs. Everything but the
            weights is the first one's: configuration, vocabulary, language model.
        weights: see `average_states`.

    Raises:
        UserError: fewer than two, or models of different kinds, configurations, vocabularies or normalisers.
    """
    from signwave import bundle

    if len(members) < 2:
        raise UserError(f"{len(members)} model given; name at least two to average")
    first = bundle.load(members[0])
    states = [first.state_dict(), *(_state(Path(member), first) for member in members[1:])]
    own = {"model.safetensors", "vocabulary.json", "normaliser.json", "README.md", "bundle.json"}
    info = {**first.info, "averaged": [Path(member).name for member in members],
            "averaging_weights": list(weights) if weights else [1.0] * len(members)}  # fmt: skip
    return bundle.save(
        out, kind=first.kind, model=_weights_only(average_states(states, weights)), config=first.config,
        vocabulary=first.vocabulary, normaliser=first.normaliser, info=info,
        files={name: first.folder / name for name in first.files if name not in own},
    )  # fmt: skip


def _state(path: Path, first: Bundle) -> dict[str, Tensor]:
    if path.suffix == ".ckpt":
        from signwave.training import checkpoints

        state = checkpoints.load(path)["state_dict"]
        return {name.removeprefix(_ENCODER): value for name, value in state.items() if name.startswith(_ENCODER)}
    from signwave import bundle

    other = bundle.load(path)
    for what in ("kind", "config", "vocabulary", "normaliser"):
        if getattr(other, what) != getattr(first, what):
            raise ArtefactError(f"{path}: its {what} differs from that of {first.folder}; average models of one kind")
    return other.state_dict()


def _weights_only(state: dict[str, Tensor]) -> nn.Module:
    """What `bundle.save` takes a state from."""

    class Weights(torch.nn.Module):
        def state_dict(self, *_: Any, **__: Any) -> Any:
            return state

    return Weights()
