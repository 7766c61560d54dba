"""Loss on held-out clips, by language: what a continued model gains on the target and loses on its donors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asr.pretraining.contrastive import Loss
from asr.pretraining.health import Health, LossSums

UNKNOWN = "unknown"
"""Clips whose manifest names no language."""


class Figures(NamedTuple):
    """One pass over the held-out clips; losses are by masked frame, without penalties."""

    loss: float
    by_language: dict[str, float]
    health: Health


class HeldOut:
    """Sums over a pass; the masks of a clip are the same in every pass.

    Args:
        languages: every language that occurs; '' counts as unknown.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = sorted({language or UNKNOWN for language in languages})
        self.before: dict[str, float] = {}
        """Loss of each language before training."""
        self.latest: dict[str, float] = {}
        """Loss of each language in the last pass."""
        self.reset()

    def reset(self) -> None:
        """Begin a pass."""
        self._sums = LossSums()
        self._by_language = torch.zeros(len(self.languages), 2, dtype=torch.float64)

    def add(self, loss: Loss, languages: Sequence[str]) -> None:
        """Count a batch."""
        self._sums.add(loss)
        rows = torch.tensor([self.languages.index(language or UNKNOWN) for language in languages])
        pairs = torch.stack([loss.by_clip.double(), loss.num_masked.double()], dim=1).cpu()
        self._by_language.index_add_(0, rows, pairs)

    def close(self, reduced: Callable[[Tensor], Tensor]) -> Figures:
        """End the pass; `reduced` adds a vector up over ranks."""
        sums, num_languages = self._sums.vector, len(self.languages)
        vector = reduced(torch.cat([self._by_language.flatten().to(sums.device), sums]))
        pairs = vector[: 2 * num_languages].view(num_languages, 2).tolist()
        health = self._sums.health(vector[2 * num_languages :])
        self.latest = {
            language: total / count for language, (total, count) in zip(self.languages, pairs, strict=True) if count
        }
        total, count = (sum(column) for column in zip(*pairs, strict=True))
        self.reset()
        return Figures(total / max(count, 1), self.latest, health)

    def report(self, best: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
        """Language → loss before and after; after is that of the best weights where some were chosen.

        Args:
            best: validation figures of the best checkpoint, empty where the last weights are taken.
        """
        found: dict[str, dict[str, float | None]] = {}
        for language in self.languages:
            before = self.before.get(language)
            after = best.get(f"val/loss_{language}", self.latest.get(language))
            change = None if before is None or after is None else after - before
            found[language] = {"before": before, "after": after, "change": change}
        return found
