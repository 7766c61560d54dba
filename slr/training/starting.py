"""Weights that a model starts from: those of another run, as far as they fit."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from signwave import bundle
from signwave.errors import ConfigError
from signwave.text import Vocabulary


def start_from(model: Any, folder: str, vocabulary: Vocabulary) -> None:
    """Give a recogniser the weights of a run; those of the output layers only where the run has the same glosses.

    Args:
        model: a SignModel; a `Trunk` where the glosses differ.
        folder: run or bundle folder.
        vocabulary: of the model.

    Raises:
        ConfigError: the run's model has other settings, or other glosses and output layers that nobody can tell apart.
    """
    wanted = set(model.state_dict())
    if bundle.load(folder).vocabulary != vocabulary:
        if not hasattr(model, "drop_heads"):
            raise ConfigError(
                f"initial_run={folder}: has other glosses, and {type(model).__name__} can't start from them; take a "
                "keypoint, S3D or two-stream model"
            )
        trunk = copy.deepcopy(model)
        trunk.drop_heads()
        wanted = set(trunk.state_dict())
    take_weights(model, folder, wanted)


def take_weights(module: Any, folder: str, names: Collection[str]) -> None:
    """Copy some weights of a run into a module.

    Args:
        module: gets them.
        folder: run or bundle folder.
        names: of the weights, as both call them.

    Raises:
        ConfigError: the run lacks one, or has it in another shape.
    """
    given, own = bundle.load(folder).state_dict(), module.state_dict()
    taken = {name: given[name] for name in names if name in given and given[name].shape == own[name].shape}
    missing = sorted(set(names) - set(taken))
    if missing:
        raise ConfigError(
            f"initial_run={folder}: has no '{missing[0]}' of this model's shape; give a run with the same model "
            "settings"
        )
    module.load_state_dict({**own, **taken})
