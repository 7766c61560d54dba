"""Batches from several corpora: each batch of one corpus, the share of each a schedule over the run.

The corpus at position n is a function of n, the schedule and the length of the run alone, so every rank, any number of
loader workers and every resumed run see the same order.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signwave.errors import ArtefactError
from signwave.sampling import STATE_VERSION, BudgetBatchSampler, Draw

Points = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Ramp:
    """A value over a run: straight lines between points.

    >>> ramp = Ramp([[0, 0.5], [0.8, 0.5], [1, 0]])
    >>> ramp.at(0.4), round(ramp.at(0.9), 3), round(ramp.mean(), 3)
    (0.5, 0.25, 0.45)

    Attributes:
        points: (progress, value) pairs; progress rises from 0 to 1, and where two are alike the value jumps. Before the
            first and after the last point the value stays.

    Raises:
        ValueError: there is no point, or progress falls or leaves [0, 1].
    """

    points: Points

    def __post_init__(self) -> None:
        pairs = [tuple(float(number) for number in point) for point in self.points]
        if not pairs or any(len(pair) != 2 or not all(map(math.isfinite, pair)) for pair in pairs):
            raise ValueError(f"a schedule is a list of [progress, value] pairs, got {list(self.points)}")
        places = [pair[0] for pair in pairs]
        if any(a > b for a, b in itertools.pairwise(places)) or not 0 <= places[0] <= places[-1] <= 1:
            raise ValueError(f"progress must rise within [0, 1], got {places}")
        object.__setattr__(self, "points", tuple(pairs))

    def at(self, progress: float) -> float:
        """The value at a share of the run in [0, 1]."""
        if progress < self.points[0][0]:
            return self.points[0][1]
        for (start, low), (end, high) in itertools.pairwise(self.points):
            if progress < end:
                return low + (high - low) * (progress - start) / (end - start)
        return self.points[-1][1]

    def mean(self) -> float:
        """Mean value over the run."""
        points = [(0.0, self.points[0][1]), *self.points, (1.0, self.points[-1][1])]
        return sum((end - start) * (low + high) / 2 for (start, low), (end, high) in itertools.pairwise(points))

    def within(self, low: float, high: float) -> bool:
        """Whether every value lies in [low, high]."""
        return all(low <= value <= high for _, value in self.points)


def tempered(sizes: Sequence[float], alpha: float) -> list[float]:
    """Shares proportional to size ** alpha: at 1 by size, at 0 all alike, between them small corpora are drawn more.

    >>> tempered([100, 400], 0.5)
    [0.3333333333333333, 0.6666666666666666]
    """
    powers = [size**alpha for size in sizes]
    return [power / sum(powers) for power in powers]


def plan_batches(num_batches: int, share: Ramp, weights: Sequence[float]) -> npt.NDArray[np.int8]:
    """Which corpus each batch of a run is from: 0 is the target, k the k-th auxiliary corpus.

    At every position the batches drawn of a corpus differ from what the schedule asks for by less than there are
    corpora; a corpus whose share is 0 is not drawn.

    Args:
        num_batches: length of the run.
        share: of all auxiliary corpora together, in [0, 1].
        weights: how the auxiliary corpora divide it, adding up to 1.

    Returns:
        (num_batches,) int8.
    """
    plan = np.zeros(num_batches, dtype=np.int8)
    owed = [0.0] * (1 + len(weights))
    for number in range(num_batches):
        auxiliary = share.at((number + 0.5) / num_batches)
        wanted = [1 - auxiliary, *(auxiliary * weight for weight in weights)]
        owed = [one + more for one, more in zip(owed, wanted, strict=True)]
        # Of equals the first, the target.
        chosen = max((corpus for corpus, more in enumerate(wanted) if more > 0), key=owed.__getitem__)
        owed[chosen] -= 1
        plan[number] = chosen
    return plan


class MixedSampler:
    """The batches of a whole run from several corpora, as `signwave.training.data.BatchStream` takes them.

    A position counts batches of the run. Draws name items by number over all corpora, the target's first. Batches past
    the end of the plan, which replace those that couldn't be read, are the target's.

    Args:
        samplers: corpus → its own order; the first is the target's.
        plan: see `plan_batches`.
    """

    def __init__(self, samplers: Mapping[str, BudgetBatchSampler], plan: npt.NDArray[np.int8]) -> None:
        self.samplers = dict(samplers)
        self.plan = plan
        self._all = list(self.samplers.values())
        sizes = [len(sampler.lengths) for sampler in self._all]
        self.offsets = [0, *itertools.accumulate(sizes)][:-1]
        self.seed = self._all[0].seed
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        """Batches of the run on this rank."""
        return len(self.plan)

    def __iter__(self) -> Iterator[list[Draw]]:
        counts = self._counts(self.epoch, self.position)
        for sampler, count in zip(self._all, counts, strict=True):
            sampler.epoch, sampler.position = divmod(count, len(sampler))
        streams = [_endless(sampler) for sampler in self._all]
        while self.position < len(self.plan):
            chosen = 0 if self.epoch else int(self.plan[self.position])
            self.position += 1
            offset = self.offsets[chosen]
            yield [Draw(draw.index + offset, draw.seed) for draw in next(streams[chosen])]
        self.epoch, self.position = self.epoch + 1, 0

    def passes(self, epoch: int, position: int) -> float:
        """Passes over the target that are done at a position."""
        return self._counts(epoch, position)[0] / len(self._all[0])

    def state_dict(self, *, epoch: int | None = None, position: int | None = None) -> dict[str, Any]:
        """As of `BudgetBatchSampler.state_dict`, with the order of every corpus."""
        return {
            "version": STATE_VERSION,
            "epoch": self.epoch if epoch is None else epoch,
            "position": self.position if position is None else position,
            "plan_sha256": hashlib.sha256(self.plan.tobytes()).hexdigest(),
            "corpora": {name: sampler.state_dict(epoch=0, position=0) for name, sampler in self.samplers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a state stands.

        Raises:
            ArtefactError: the corpora, the schedule or the length of the run differ.
        """
        stored = state.get("corpora")
        if not isinstance(stored, dict) or list(stored) != list(self.samplers):
            was = ", ".join(stored) if isinstance(stored, dict) else "one corpus"
            raise ArtefactError(
                f"can't resume: the run was of {was} when the checkpoint was written and is of "
                f"{', '.join(self.samplers)} now; restore them, or start a new run from the weights"
            )
        for name, sampler in self.samplers.items():
            sampler.load_state_dict(stored[name])
        if state.get("plan_sha256") != hashlib.sha256(self.plan.tobytes()).hexdigest():
            raise ArtefactError(
                "can't resume: the order of the corpora was another when the checkpoint was written; restore the "
                "shares and the length of the run, or start a new run from the weights"
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _counts(self, epoch: int, position: int) -> list[int]:
        """How many batches of each corpus lie before a position."""
        done = self.plan if epoch else self.plan[:position]
        counts = np.bincount(done, minlength=len(self._all)).tolist()
        counts[0] += max(0, epoch - 1) * len(self.plan) + (position if epoch else 0)
        return [int(count) for count in counts]


def _endless(sampler: BudgetBatchSampler) -> Iterator[list[Draw]]:
    while True:
        yield from sampler
