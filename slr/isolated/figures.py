"""How often an isolated sign is named right, and how sure the recogniser may be of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.metrics.bootstrap import ratio_interval

_TEMPERATURES = np.exp(np.linspace(-3, 3, 241))


def ranks(log_probs: Tensor, labels: Tensor) -> Tensor:
    """(N,) int64, place of the right class, 0 is the best; ties count against it, and so does NaN.

    log_probs: (N, V) float; labels: (N,) int64.
    """
    own = log_probs.gather(1, labels[:, None])
    return (~(log_probs < own)).sum(1) - 1


def figures(log_probs: Tensor, labels: Sequence[int], origins: Sequence[str]) -> dict[str, Any]:
    """Rates over the signs of one language; those of blanks apart.

    Args:
        log_probs: (N, V) float32, natural log, class 0 is the blank.
        labels: class of each.
        origins: what each was cut from; intervals are drawn by origin.

    Returns:
        "num_signs", "top1" and "top5" over signs with "interval_95" of the first, "class_top1" and "class_top5" as
        means over classes, "num_classes", "nll" in nats, "num_blanks" and "blank_recall".
    """
    right = torch.as_tensor(list(labels), dtype=torch.int64)
    place = ranks(log_probs, right).numpy() if len(right) else np.zeros(0, dtype=np.int64)
    classes = right.numpy()
    signs, blanks = classes > 0, classes == 0
    found: dict[str, Any] = {"num_signs": int(signs.sum()), "num_blanks": int(blanks.sum())}
    if signs.any():
        for name, size in (("top1", 1), ("top5", 5)):
            hit = (place < size)[signs]
            found[name] = float(hit.mean())
            found[f"class_{name}"] = float(np.mean([hit[classes[signs] == one].mean() for one in set(classes[signs])]))
        groups = [origin for origin, is_sign in zip(origins, signs, strict=True) if is_sign]
        hits = (place < 1)[signs].astype(np.float64)
        interval = ratio_interval(hits, np.ones_like(hits), groups=groups, num_resamples=2000)
        found["interval_95"] = [float(interval.low), float(interval.high)]
        found["num_classes"] = len(set(classes[signs]))
        found["nll"] = float(-log_probs.gather(1, right[:, None])[torch.from_numpy(signs)].mean())
    if blanks.any():
        found["blank_recall"] = float((place < 1)[blanks].mean())
    return found


def fit_temperature(log_probs: Tensor, labels: Sequence[int]) -> float:
    """The temperature that makes held-out signs likeliest: log-probabilities are divided by it and normalised again.

    A recogniser that is too sure of itself gets one above 1 (Guo et al., ICML 2017). 1 where nothing is held out.
    Its logarithm is expected about 0 with a deviation of 1: else a recogniser that names a handful of held-out signs
    right would become sure of everything.

    log_probs: (N, V) float32, natural log; labels: class of each.
    """
    if not len(labels):
        return 1.0
    right = torch.as_tensor(list(labels), dtype=torch.int64)[:, None]
    losses: NDArray[np.float64] = np.asarray(
        [float(-(log_probs / t).log_softmax(1).gather(1, right).mean()) for t in _TEMPERATURES]
    )
    losses += np.log(_TEMPERATURES) ** 2 / (2 * len(labels))
    return float(_TEMPERATURES[int(losses.argmin())])
