"""From a bundle to the model it holds, whatever its kind, and to what clips must be brought to for it."""

from __future__ import annotations

import importlib.util
from typing import cast, get_args

from torch import nn

from signwave.bundle import Bundle
from signwave.errors import ArtefactError
from slr.medium import KINDS
from slr.models.interface import Reads, SignModel
from slr.reading import Needs


def build_model(stored: Bundle) -> nn.Module:
    """The model that a bundle holds, with its weights, on the CPU.

    Raises:
        ArtefactError: this version doesn't know its kind, or the weights don't fit.
    """
    kind = KINDS[stored.kind]
    if importlib.util.find_spec(kind.module) is None:
        raise ArtefactError(f"{stored.folder}: this version has no model of kind '{stored.kind}'; upgrade signwave")
    try:
        model = cast(nn.Module, getattr(importlib.import_module(kind.module), kind.name)(**stored.config))
        model.load_state_dict(stored.state_dict())
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        detail = str(error).splitlines()[0]
        raise ArtefactError(f"{stored.folder}: its weights don't fit its config ({detail}); export it again") from error
    return model


def needs_of(stored: Bundle, model: nn.Module, rate_hz: float) -> Needs:
    """What clips are brought to for a model; the size is the bundle's, else that of the encoder inside.

    Raises:
        ArtefactError: neither says it.
    """
    spec = getattr(getattr(model, "encoder", None), "spec", None)
    size_px = stored.info.get("size_px") or getattr(spec, "size_px", None)
    reads = cast(SignModel, model).reads
    try:
        if reads not in get_args(Reads):
            raise ValueError(f"reads is {reads!r}")
        return Needs(reads, rate_hz, None if size_px is None else (int(size_px[0]), int(size_px[1])))
    except (TypeError, ValueError, IndexError) as error:
        raise ArtefactError(f"{stored.folder}: says nothing usable about what it reads ({error}); export it") from error
