"""Features of two encoders of the same windows made one: the domain-agnostic and the domain-aware one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError

Mode = Literal["mix", "concatenate"]
AGNOSTIC_SHARE = 0.8
"""CiCo's α on How2Sign and CSL-Daily; on Phoenix-2014T it is 0.9."""


def fuse(
    agnostic: NDArray[Any],
    aware: NDArray[Any],
    *,
    alpha: float = AGNOSTIC_SHARE,
    mode: Mode = "mix",
    name: str = "",
) -> NDArray[np.float32]:
    """One feature for each window (CiCo, CVPR 2023, §3.2).

    "mix": alpha · agnostic + (1 - alpha) · aware, which says something only if the aware encoder began as the agnostic
    one, so that both mean the same by a dimension. "concatenate": the features side by side, for any two encoders;
    alpha is not used.

    Args:
        agnostic: (M, D) float16 or float32, windows of a clip.
        aware: likewise, of the same windows; for "concatenate" of any width.
        alpha: share of the agnostic features, in [0, 1].
        mode: how.
        name: of the clip, for the error.

    Returns:
        (M, D) float32, or (M, D + D') side by side. Lengths are not made equal: mixed unit vectors are shorter.

    Raises:
        ArtefactError: the two hold other windows, or other widths.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    first, second = np.asarray(agnostic), np.asarray(aware)
    what = f"clip '{name}': " if name else ""
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise ArtefactError(
            f"{what}the agnostic encoder's features are {first.shape}, the aware one's {second.shape}; they must be "
            "(windows, width) of the same windows: extract both with the same window, stride and choice of windows"
        )
    if mode == "concatenate":
        return np.concatenate([first, second], axis=1, dtype=np.float32)
    if first.shape != second.shape:
        raise ArtefactError(
            f"{what}the agnostic encoder's features are {first.shape[1]} wide, the aware one's {second.shape[1]}; mix "
            "encoders of one kind, the aware one started from the agnostic one, or concatenate"
        )
    mixed: NDArray[np.float32] = np.float32(alpha) * first.astype(np.float32) + np.float32(1 - alpha) * second.astype(
        np.float32
    )
    return mixed
