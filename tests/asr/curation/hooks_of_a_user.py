"""What a user's hooks may look like; named as `module:function` in the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def language(samples: NDArray[np.float32], rate_hz: int) -> dict[str, float]:
    assert (samples.dtype, samples.ndim, rate_hz) == (np.float32, 1, 16_000)
    quiet = float(np.abs(samples).max()) < 0.2
    return {"fa": 0.2, "ar": 0.75} if quiet else {"fa": 0.9, "ar": 0.1}


def kinds(samples: NDArray[np.float32], rate_hz: int) -> dict[str, float]:
    return {"music": 0.1, "overlap": 0.0, "seconds": len(samples) / rate_hz}


def broken(samples: NDArray[np.float32], rate_hz: int) -> dict[str, float]:
    raise RuntimeError("no such model")


def words(samples: NDArray[np.float32], rate_hz: int) -> str:
    return "music"


def endless(samples: NDArray[np.float32], rate_hz: int) -> dict[str, float]:
    return {"music": float("nan")}


def row_or_death(row: dict[str, Any]) -> dict[str, Any]:
    """A callable over rows; one of them ends its process as a crashing decoder would."""
    if row["path"] == "deadly":
        os._exit(11)
    Path(row["folder"], f"{row['path']}-{os.getpid()}").touch()
    return {**row, "seconds": 1.0, "segments": [], "failure": None}
