"""The data stream of a run: budgeted batches from loader workers, resumable at the batch that was consumed last.

A training run is one stream of batches over all epochs, so a checkpoint is always "in the middle" and one mechanism
restores it: loader workers read ahead, therefore the state counts consumed batches, not drawn ones.
"""

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Protocol, TypeAlias

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from signwave.batch import Batch
from signwave.errors import UserError
from signwave.mixing import MixedSampler
from signwave.sampling import BudgetBatchSampler, Draw
from signwave.training.items import Collated, GuardedDataset, ItemLog

log = logging.getLogger(__name__)

_WORKER_GRACE_SECONDS = 10

Sampler: TypeAlias = BudgetBatchSampler | MixedSampler


class Dataset(Protocol):
    """What a dataset offers; it derives from nothing."""

    @property
    def lengths(self) -> Sequence[int]:
        """Frames or samples of each item, what the budget counts."""

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> Any:
        """One item; augmentation uses `numpy.random.default_rng(draw.seed)` and no other randomness.

        Raises:
            UserError: the item can't be used; it is reported and left out.
        """

    def collate(self, items: list[Any]) -> Batch:
        """Pad items to a batch."""


class BatchStream:
    """Batches of a whole run, for Lightning to iterate once.

    Args:
        dataset: gives items and pads them.
        sampler: order of the items; the stream owns its state.
        num_batches: length of the run.
        num_workers: loader processes; 0 loads in this process.
        items: where bad items are counted.
    """

    def __init__(
        self, dataset: Dataset, sampler: Sampler, *, num_batches: int, num_workers: int, items: ItemLog
    ) -> None:
        self.sampler = sampler
        self.num_batches = num_batches
        self.items = items
        self.wait_seconds = 0.0
        """Time spent waiting for batches since the stream was made."""
        self.num_units = 0
        """Frames or samples yielded since the stream was made, without padding."""
        self._num_yielded = 0
        self._consumed = (sampler.epoch, sampler.position)
        self._loader = make_loader(dataset, _Endless(sampler), num_workers=num_workers, seed=sampler.seed, items=items)

    def __len__(self) -> int:
        """Batches of the whole run, also those done before a resume: Lightning counts from the start."""
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        epoch, position = self._consumed
        self.sampler.load_state_dict(self.sampler.state_dict(epoch=epoch, position=position))
        batches = iter(self._loader)
        while self._num_yielded < self.num_batches:
            started = time.perf_counter()
            collated = self._next(batches)
            self.wait_seconds += time.perf_counter() - started
            self._advance()
            self.items.report(collated.bad)
            if collated.batch is not None:
                self._num_yielded += 1
                self.num_units += _num_units(collated.batch)
                yield collated.batch

    @property
    def epoch(self) -> float:
        """Passes over the data consumed so far."""
        return self.sampler.passes(*self._consumed)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's state as of the last consumed batch."""
        epoch, position = self._consumed
        return {**self.sampler.state_dict(epoch=epoch, position=position), "num_yielded": self._num_yielded}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the last consumed batch; see BudgetBatchSampler.load_state_dict."""
        self.sampler.load_state_dict(state)
        self._consumed = (self.sampler.epoch, self.sampler.position)
        self._num_yielded = int(state["num_yielded"])

    def _advance(self) -> None:
        epoch, position = self._consumed
        self._consumed = (epoch, position + 1) if position + 1 < len(self.sampler) else (epoch + 1, 0)

    def _next(self, batches: Iterator[Collated]) -> Collated:
        try:
            return next(batches)
        except RuntimeError as error:
            raise self.items.explain(error) from error


def _num_units(batch: Batch) -> int:
    lengths = getattr(batch, "num_frames", None)
    return int(lengths.sum()) if isinstance(lengths, Tensor) else 0


class _Endless:
    """Batch sampler that goes through epoch after epoch, so that workers read ahead across their borders."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[list[Draw]]:
        while True:
            yield from self._sampler


class _FromStart:
    """Batch sampler for evaluation: the same batches each time, also after a round that was cut short."""

    def __init__(self, sampler: BudgetBatchSampler) -> None:
        self._sampler = sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[list[Draw]]:
        self._sampler.epoch = self._sampler.position = 0
        yield from self._sampler


class EvaluationLoader:
    """Batches of one pass over a split, in a fixed order; bad items are reported and left out."""

    def __init__(self, loader: "DataLoader[Any]", items: ItemLog) -> None:
        self._loader = loader
        self.items = items

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._loader)
        while True:
            try:
                collated = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                raise self.items.explain(error) from error
            self.items.report(collated.bad)
            if collated.batch is not None:
                yield collated.batch


def make_loader(dataset: Dataset, batches: Any, *, num_workers: int, seed: int, items: ItemLog) -> "DataLoader[Any]":
    """A torch DataLoader that takes nothing from the global random state and survives bad items."""
    guarded = GuardedDataset(dataset, items.current)
    return DataLoader(
        guarded,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=guarded.collate,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker if num_workers else None,
        generator=torch.Generator().manual_seed(seed),
    )


def _start_worker(worker_id: int) -> None:
    """One thread a worker; the parent alone answers to Ctrl-C and to the first SIGTERM, and then ends its workers."""
    torch.set_num_threads(1)
    if get_worker_info() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _outlive_first)


def _outlive_first(number: int, frame: FrameType | None) -> None:
    """Let the parent finish its step, but not for ever: a parent that exits sends one SIGTERM and then waits."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_WORKER_GRACE_SECONDS)


class DataModule(pl.LightningDataModule):
    """The splits of a recipe as Lightning loaders.

    Args:
        train: training split.
        val: for validation during training, or None.
        test: for the figures at the end, or None.
        budget: frames or samples of a padded batch.
        seed: of order and augmentation.
        num_workers: loader processes a split.
        max_items: at most this many items a batch.
        num_buckets: groups of similar length.
        rate_hz: frames or samples a second; the throughput is then also told in seconds of media.
        max_bad_share: a split with a larger share of unreadable items stops the run.
    """

    needs_end = False
    """Whether the order of the batches depends on the length of the run."""

    def __init__(
        self,
        train: Dataset,
        val: Dataset | None = None,
        test: Dataset | None = None,
        *,
        budget: int,
        seed: int = 0,
        num_workers: int = 0,
        max_items: int | None = None,
        num_buckets: int = 30,
        rate_hz: float | None = None,
        max_bad_share: float = 0.1,
    ) -> None:
        super().__init__()
        self.splits = {"train": train, "val": val, "test": test}
        self.budget = budget
        self.seed = seed
        self.num_workers = num_workers
        self.max_items = max_items
        self.num_buckets = num_buckets
        self.rate_hz = rate_hz
        self.items = {
            name: ItemLog(name, num_items=len(split), max_bad_share=max_bad_share, num_workers=num_workers)
            for name, split in self.splits.items()
            if split is not None
        }
        self.num_train_batches: int | None = None
        """Length of the run in batches of this rank, set by `signwave.recipe.run`."""
        self.stream: BatchStream | None = None
        self._state: dict[str, Any] | None = None

    def sampler(self, name: str, *, rank: int = 0, num_replicas: int = 1) -> BudgetBatchSampler:
        """The sampler of a split; only training shuffles."""
        split = self.splits[name]
        if split is None:
            raise UserError(f"this recipe has no '{name}' split")
        return BudgetBatchSampler(
            split.lengths,
            max_padded_length=self.budget,
            seed=self.seed,
            shuffle=name == "train",
            num_buckets=self.num_buckets,
            rank=rank,
            num_replicas=num_replicas,
            max_items=self.max_items,
        )

    def batches_per_epoch(self, *, num_replicas: int) -> int:
        """Training batches of each rank in one pass over the training split."""
        return len(self.sampler("train", num_replicas=num_replicas))

    def train_dataloader(self) -> BatchStream:
        """The stream of the whole run, positioned where the loaded state stands."""
        train, sampler = self._training()
        self.stream = BatchStream(
            train,
            sampler,
            num_batches=self.num_train_batches or len(sampler),
            num_workers=self.num_workers,
            items=self.items["train"],
        )
        if self._state is not None:
            self.stream.load_state_dict(self._state)
        return self.stream

    def val_dataloader(self) -> EvaluationLoader:
        """Validation batches."""
        return self._evaluation_loader("val", self._ranked_sampler("val"))

    def whole_val_dataloader(self) -> EvaluationLoader:
        """All validation batches on every rank, for what is chosen on them after training."""
        return self._evaluation_loader("val", self.sampler("val"))

    def test_dataloader(self) -> EvaluationLoader:
        """Test batches, all of them on every rank: a gallery or an interval needs all clips in one place."""
        return self._evaluation_loader("test", self.sampler("test"))

    def state_dict(self) -> dict[str, Any]:
        """Where the training stream stands, in plain values."""
        return {} if self.stream is None else self.stream.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state for the stream that `train_dataloader` will make."""
        self._state = state_dict

    def _training(self) -> "tuple[Dataset, Sampler]":
        """What is trained on, and its order."""
        train = self.splits["train"]
        if train is None:
            raise UserError("this recipe has no 'train' split")
        return train, self._ranked_sampler("train")

    def _evaluation_loader(self, name: str, sampler: BudgetBatchSampler) -> EvaluationLoader:
        split = self.splits[name]
        if split is None:
            raise UserError(f"this recipe has no '{name}' split")
        items, batches = self.items[name], _FromStart(sampler)
        loader = make_loader(split, batches, num_workers=self.num_workers, seed=self.seed, items=items)
        return EvaluationLoader(loader, items)

    def _ranked_sampler(self, name: str) -> BudgetBatchSampler:
        trainer = self.trainer
        if trainer is None:
            return self.sampler(name)
        return self.sampler(name, rank=trainer.global_rank, num_replicas=trainer.world_size)
