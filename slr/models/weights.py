"""Weights from files of other programs: read without running anything, loaded only where every name and shape fits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from signwave.errors import ArtefactError

_MOST_NAMES = 5


def read_weights(path: str | Path, *, advice: str = "give a file of weights") -> dict[str, Tensor]:
    """A file that holds a plain dictionary of tensors.

    Args:
        path: a local file.
        advice: what to do where there is none, for the message.

    Raises:
        ArtefactError: it is missing, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file; {advice}") from error
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ArtefactError(f"{path}: can't be read as weights ({reason}); download it again") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ArtefactError(f"{path}: holds no plain state dictionary; save the model's state_dict() alone")
    return dict(content)


def load_exactly(
    module: nn.Module, given: Mapping[str, Tensor], *, source: str, hint: str, optional: Collection[str] = ()
) -> None:
    """Load weights whose names and shapes must be those of the module.

    Args:
        module: what to fill.
        given: name → weights.
        source: where they come from, for the message.
        hint: what to do otherwise, for the message.
        optional: names that may be missing.

    Raises:
        ArtefactError: names or shapes differ; the message names some, and nothing was loaded.
    """
    wanted = module.state_dict()
    wrong = {
        "missing": sorted(wanted.keys() - given.keys() - set(optional)),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape),
    }
    if any(wrong.values()):
        parts = [f"{what}: {_shortened(names)}" for what, names in wrong.items() if names]
        raise ArtefactError(f"{source}: not the weights of this model ({'; '.join(parts)}); {hint}")
    module.load_state_dict(given, strict=False)


def _shortened(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
