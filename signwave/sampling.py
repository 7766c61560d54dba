"""Which items form a batch: at most N padded frames or samples, similar lengths, seeded, rank-aware, resumable.

Order is f(seed, epoch) alone: neither the number of loader workers nor an interruption changes it.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from signwave.errors import ArtefactError, UserError

log = logging.getLogger(__name__)

STATE_VERSION = 1
_MIN_BATCHES_PER_BUCKET = 4
"""A bucket holds at least this many batches, so that shuffling inside it mixes items."""


class Draw(NamedTuple):
    """One item of a batch: which, and the seed of its augmentation in this epoch."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    seed: int


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """A 32-bit seed, the same on every machine, for `numpy.random.default_rng`.

    Args:
        seed: of the run.
        epoch: pass over the data, from 0.
        index: item in the dataset.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


class BudgetBatchSampler:
    """Batches of `Draw`s whose padded length (items × longest) stays within a budget.

    Each `iter()` yields what is left of the current epoch and then moves on to the next, so two loops over the
    sampler are two epochs. Every epoch has the same number of batches, on every rank, and every item once (unless
    all batches are single items and their number isn't a multiple of `num_replicas`: then a few come twice).

    Args:
        lengths: frames, samples or any other cost of each item, at least 1.
        max_padded_length: budget of a batch; an item that is longer by itself forms a batch alone and is reported.
        seed: of the order and of the augmentation seeds.
        shuffle: False keeps items ordered by length and gives them the seeds of epoch 0 (validation).
        num_buckets: at most this many groups of similar length.
        rank: this process.
        num_replicas: number of processes.
        max_items: at most this many items a batch.

    Raises:
        ValueError: an argument makes no sense.
        UserError: fewer items than processes.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        max_padded_length: int,
        seed: int = 0,
        shuffle: bool = True,
        num_buckets: int = 30,
        rank: int = 0,
        num_replicas: int = 1,
        max_items: int | None = None,
    ) -> None:
        self.lengths: npt.NDArray[np.int64] = np.asarray(lengths, dtype=np.int64)
        self.max_padded_length = max_padded_length
        self.seed = seed
        self.shuffle = shuffle
        self.num_buckets = num_buckets
        self.rank = rank
        self.num_replicas = num_replicas
        self.max_items = max_items
        self.epoch = 0
        self.position = 0
        self._check()
        self.over_budget: tuple[int, ...] = tuple(np.flatnonzero(self.lengths > max_padded_length).tolist())
        """Items that are longer than the whole budget, each a batch of its own."""
        self._buckets = self._make_buckets()
        self._num_batches = self._count_batches()
        if self.over_budget:
            log.warning(
                "%d of %d items are longer than the budget of %d and form batches alone; the longest has %d (item %d)",
                len(self.over_budget),
                len(self.lengths),
                max_padded_length,
                int(self.lengths.max()),
                int(self.lengths.argmax()),
            )

    def __len__(self) -> int:
        """Batches of one epoch on this rank."""
        return self._num_batches // self.num_replicas

    def __iter__(self) -> Iterator[list[Draw]]:
        batches = self._epoch_batches(self.epoch)[self.rank :: self.num_replicas]
        while self.position < len(batches):
            epoch, position = self.epoch, self.position
            self.position += 1
            yield self._draws(batches[position], epoch)
        self.epoch, self.position = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the current one keeps its position."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def passes(self, epoch: int, position: int) -> float:
        """Passes over the data that are done at a position."""
        return epoch + position / len(self)

    def state_dict(self, *, epoch: int | None = None, position: int | None = None) -> dict[str, Any]:
        """Plain values that `load_state_dict` accepts: where the iteration stands and what the order depends on.

        Args:
            epoch: of the state, default where `iter` stands; a loader that reads ahead gives what was consumed.
            position: batches of that epoch already done on each rank.
        """
        return {
            "version": STATE_VERSION,
            "epoch": self.epoch if epoch is None else epoch,
            "position": self.position if position is None else position,
            **self._identity(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a state stands, without reading any data.

        Raises:
            ArtefactError: the items, the budget, the seed or the number of processes differ, so that the rest of the
                epoch is not the rest of that epoch.
        """
        if state.get("version") != STATE_VERSION:
            raise ArtefactError(
                f"sampler state of version {state.get('version')!r}, this toolkit reads {STATE_VERSION}"
            )
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise ArtefactError(
                    f"can't resume: {_MEANING[key]} was {_short(state.get(key))} when the checkpoint was written and "
                    f"is {_short(value)} now; restore it, or start a new run from the weights"
                )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= len(self):
            raise ArtefactError(
                f"sampler state stands at batch {position} of {len(self)} in epoch {epoch}; it is damaged"
            )
        self.epoch, self.position = epoch, position

    def _check(self) -> None:
        if self.lengths.ndim != 1 or len(self.lengths) == 0:
            raise UserError("the dataset holds no items; check its manifest and filters")
        if int(self.lengths.min()) < 1:
            raise ValueError(f"lengths must be at least 1, item {int(self.lengths.argmin())} has {self.lengths.min()}")
        for name in ("max_padded_length", "num_buckets", "num_replicas"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_items is not None and self.max_items < 1:
            raise ValueError(f"max_items must be at least 1 or None, got {self.max_items}")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank must lie in [0, {self.num_replicas}), got {self.rank}")
        if len(self.lengths) < self.num_replicas:
            raise UserError(f"{len(self.lengths)} items for {self.num_replicas} processes; each needs at least one")

    def _batch_size(self, longest: int) -> int:
        size = max(1, self.max_padded_length // longest)
        return size if self.max_items is None else min(size, self.max_items)

    def _make_buckets(self) -> list[tuple[npt.NDArray[np.int64], int]]:
        """Groups of similar length, longest first, each with its number of batches."""
        order = np.argsort(-self.lengths, kind="stable")
        least = -(-len(order) // self.num_buckets)
        buckets = []
        start = 0
        while start < len(order):
            size = self._batch_size(int(self.lengths[order[start]]))
            end = start + max(least, _MIN_BATCHES_PER_BUCKET * size)
            if len(order) - end < size:  # a rest smaller than one batch joins its neighbour
                end = len(order)
            bucket = order[start:end]
            buckets.append((bucket, -(-len(bucket) // size)))
            start = end
        return buckets

    def _count_batches(self) -> int:
        total = sum(num_batches for _, num_batches in self._buckets)
        return -(-total // self.num_replicas) * self.num_replicas

    def _epoch_batches(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """The batches of all ranks; those at the same step on different ranks are of similar length."""
        rng = np.random.default_rng([self.seed, epoch])
        batches: list[npt.NDArray[np.int64]] = []
        for items, num_batches in self._buckets:
            batches += np.array_split(rng.permutation(items) if self.shuffle else items, num_batches)
        self._even_out(batches)
        if not self.shuffle:
            return batches
        steps = rng.permutation(len(batches) // self.num_replicas)
        return [batches[step * self.num_replicas + rank] for step in steps for rank in range(self.num_replicas)]

    def _even_out(self, batches: list[npt.NDArray[np.int64]]) -> None:
        """Give every rank the same number of batches by halving those with most items."""
        while len(batches) < self._num_batches:
            largest = max(range(len(batches)), key=lambda i: len(batches[i]))
            if len(batches[largest]) > 1:
                batches[largest : largest + 1] = np.array_split(batches[largest], 2)
            else:  # only single items left: the only case in which an item comes twice
                batches.append(batches[len(batches) % len(self.lengths)])

    def _draws(self, items: npt.NDArray[np.int64], epoch: int) -> list[Draw]:
        seed_epoch = epoch if self.shuffle else 0
        return [Draw(int(item), draw_seed(self.seed, seed_epoch, int(item))) for item in items]

    def _identity(self) -> dict[str, Any]:
        return {
            "lengths_sha256": hashlib.sha256(self.lengths.astype("<i8").tobytes()).hexdigest(),
            "num_items": len(self.lengths),
            "max_padded_length": self.max_padded_length,
            "max_items": self.max_items,
            "num_buckets": self.num_buckets,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_replicas": self.num_replicas,
        }


_MEANING = {
    "lengths_sha256": "the list of item lengths (SHA-256)",
    "num_items": "the number of items",
    "max_padded_length": "the batch budget",
    "max_items": "the limit of items a batch",
    "num_buckets": "the number of length buckets",
    "seed": "the seed",
    "shuffle": "shuffling",
    "num_replicas": "the number of processes",
}


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 12 else str(value)
