"""Bad items: an unreadable file is named, counted and left out; it never takes its batch or the run with it."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from signwave.batch import Batch
from signwave.errors import UserError
from signwave.sampling import Draw

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadItem:
    """Why an item was left out."""

    index: int
    message: str


@dataclass(frozen=True)
class Collated:
    """A batch, or None when all its items were bad, and what was left out of it."""

    batch: Batch | None
    bad: tuple[BadItem, ...]

    def pin_memory(self) -> "Collated":
        """Called by the DataLoader."""
        return Collated(self.batch if self.batch is None else self.batch.pin_memory(), self.bad)


class GuardedDataset:
    """A dataset whose bad items arrive as BadItem instead of ending the worker.

    Args:
        dataset: raises UserError for an item that can't be used.
        current: (num_workers,) int64 in shared memory; holds the item that each worker reads, -1 for none.
    """

    def __init__(self, dataset: Any, current: Tensor) -> None:
        self._dataset = dataset
        self._current = current

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, draw: Draw) -> Any:
        worker = get_worker_info()
        slot = 0 if worker is None else worker.id
        self._current[slot] = draw.index
        try:
            return self._dataset[draw]
        except UserError as error:
            return BadItem(draw.index, str(error))
        finally:
            self._current[slot] = -1

    def collate(self, items: list[Any]) -> Collated:
        """Pad the good items."""
        good = [item for item in items if not isinstance(item, BadItem)]
        bad = tuple(item for item in items if isinstance(item, BadItem))
        return Collated(self._dataset.collate(good) if good else None, bad)


class ItemLog:
    """The bad items of one split, each reported once.

    Args:
        name: of the split.
        num_items: size of the split.
        max_bad_share: more than this share stops the run.
        num_workers: loader processes.
    """

    def __init__(self, name: str, *, num_items: int, max_bad_share: float, num_workers: int) -> None:
        self.name = name
        self.num_items = num_items
        self.max_bad_share = max_bad_share
        self.bad: dict[int, str] = {}
        """Message of each bad item, by index."""
        self.current = torch.full((max(1, num_workers),), -1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def report(self, bad: tuple[BadItem, ...]) -> None:
        """Count bad items.

        Raises:
            UserError: too large a share of the split is bad.
        """
        for item in bad:
            if item.index not in self.bad:
                log.warning("%s item %d left out: %s", self.name, item.index, item.message)
                self.bad[item.index] = item.message
        # With none left a stream that never ends would look for one for ever, whatever the share.
        if len(self.bad) > self.max_bad_share * self.num_items or 0 < self.num_items <= len(self.bad):
            raise UserError(
                f"{len(self.bad)} of {self.num_items} {self.name} items can't be read, more than the allowed share of "
                f"{self.max_bad_share:g}; the last: {next(reversed(self.bad.values()))}; "
                "mend the data or prepare it anew"
            )

    def explain(self, error: RuntimeError) -> Exception:
        """The error of a loader; for a worker that died, one that names the items the workers were reading."""
        if "DataLoader worker" not in str(error):
            return error
        reading = [index for index in self.current.tolist() if index >= 0]
        what = f"while reading {self.name} item {' or '.join(map(str, reading))}" if reading else "between two items"
        return UserError(
            f"a loader process died {what} ({str(error).splitlines()[0]}); try that item alone, or "
            "train.num_workers=0, and look for a full /dev/shm or too little memory"
        )
