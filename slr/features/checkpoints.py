"""Weights of other people's programs, from files of torch or safetensors; loading them runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signwave.errors import ArtefactError, ConfigError
from slr.features.encoders import HEADS
from slr.models.i3d import InceptionI3d
from slr.models.weights import load_exactly


def load_state(backbone: nn.Module, path: Path) -> None:
    """Put a file's weights into a backbone, without those of the classifier that was taken off.

    Raises:
        ConfigError: there is no such file.
        ArtefactError: it holds something else, or weights of another model.
    """
    state = {name.removeprefix("module."): value for name, value in read_state(path).items()}
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    foreign = [name for name in state if name not in wanted and name.split(".", maxsplit=1)[0] not in HEADS]
    shapes = [name for name, value in wanted.items() if name in state and state[name].shape != value.shape]
    if missing or foreign or shapes:
        raise ArtefactError(
            f"{path}: doesn't fit the model: {len(missing)} weights missing, {len(foreign)} unknown, {len(shapes)} of "
            f"another shape, e.g. '{(missing + foreign + shapes)[0]}'; give the weights of this very model"
        )
    backbone.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def load_i3d(path: Path) -> InceptionI3d:
    """I3D with the classifier that a file brings, whatever its size; without one where there is none.

    Raises:
        ArtefactError: the names or shapes in the file aren't I3D's; the message names some.
    """
    state = {name.removeprefix("module."): value for name, value in read_state(path).items()}
    head = state.get("logits.conv3d.weight")
    model = InceptionI3d(num_classes=None if head is None else len(head)).eval()
    counts = [name for name in model.state_dict() if name.endswith("num_batches_tracked")]
    load_exactly(model, state, source=str(path), hint="give weights of InceptionI3d", optional=counts)
    return model


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a file of torch or safetensors, which may lie under "state_dict" or "model"; nothing is run.

    Raises:
        ConfigError: there is no such file.
        ArtefactError: it holds something else.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such weights file; give a .pth or .safetensors file on this machine")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ArtefactError(f"{path}: can't be read ({error}); fetch it again") from error
    try:
        with torch.serialization.safe_globals(_plain_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes torch's reader raise
        detail = str(error).splitlines()[0][:120]
        raise ArtefactError(f"{path}: holds no plain weights ({detail}); give a state dict or safetensors") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ArtefactError(f"{path}: holds no state dict; save `model.state_dict()`")
    return content


def _plain_numbers() -> list[Any]:
    """Numbers of numpy, which training scripts leave beside the weights as losses and scores."""
    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")]
    scalar: Any = np.float64(0).__reduce__()[0]
    # Numpy 1 calls it by another name.
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]
