"""The state of every random number generator, kept in the checkpoint so that a resumed run goes on exactly."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning.callbacks import Callback


class RandomState(Callback):
    """Saves and restores python's, numpy's, torch's and CUDA's generators (of rank 0)."""

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        version, python, gauss = random.getstate()
        _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - the global one
        return {
            "python": [version, list(python), gauss],
            "numpy": [torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(cached)],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts: setting up draws random numbers too."""
        self._state = state_dict

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Restore, once."""
        if self._state is None:
            return
        version, python, gauss = self._state["python"]
        random.setstate((version, tuple(python), gauss))
        keys, position, has_gauss, cached = self._state["numpy"]
        np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(self._state["torch"].cpu())
        if torch.cuda.is_available() and len(self._state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._state["cuda"]])
        self._state = None
