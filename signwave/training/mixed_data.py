"""A target corpus and auxiliary ones as one stream of batches, each batch of one corpus."""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from signwave.batch import Batch
from signwave.errors import UserError
from signwave.mixing import MixedSampler, Ramp, plan_batches, tempered
from signwave.sampling import BudgetBatchSampler, Draw, draw_seed
from signwave.training.data import DataModule, Dataset, Sampler
from signwave.training.items import ItemLog


class MixedDataset:
    """Datasets one after another; a batch is padded by the one that its items are from.

    Args:
        datasets: the target first, as `MixedSampler` numbers them.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.datasets = list(datasets)
        self._offsets = [0, *itertools.accumulate(len(dataset) for dataset in self.datasets)]

    @property
    def lengths(self) -> Sequence[int]:
        """Frames or samples of each item."""
        return [length for dataset in self.datasets for length in dataset.lengths]

    def __len__(self) -> int:
        return self._offsets[-1]

    def __getitem__(self, draw: Draw) -> tuple[int, Any]:
        """Number of the dataset, and its item."""
        number = bisect.bisect_right(self._offsets, draw.index) - 1
        return number, self.datasets[number][Draw(draw.index - self._offsets[number], draw.seed)]

    def collate(self, items: list[tuple[int, Any]]) -> Batch:
        """Pad items of one dataset."""
        return self.datasets[items[0][0]].collate([item for _, item in items])


class MixedData(DataModule):
    """A target corpus that is trained, validated and tested on, and auxiliary corpora that are trained on beside it.

    An epoch is one pass over the target. Of several auxiliary corpora each is drawn in proportion to its number of
    items to the power of `alpha`.

    Args:
        train: training split of the target.
        val: of the target.
        test: of the target.
        auxiliary: name → training items.
        share: of the batches that are auxiliary, over the run.
        alpha: 0 draws all auxiliary corpora alike, 1 by their size.
        options: everything else goes to DataModule.

    Raises:
        UserError: an auxiliary corpus holds nothing, or the target never gets a batch.
    """

    needs_end = True

    def __init__(
        self,
        train: Dataset,
        val: Dataset | None,
        test: Dataset | None,
        *,
        auxiliary: Mapping[str, Dataset],
        share: Ramp,
        alpha: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(train, val, test, **options)
        empty = [name for name, dataset in auxiliary.items() if not len(dataset)]
        if empty:
            raise UserError(f"the auxiliary corpus '{empty[0]}' holds no clip; leave it out, or map more of its signs")
        if not share.within(0, 1) or share.mean() >= 1:
            raise UserError(f"the auxiliary share must lie in [0, 1] and leave the target a part, got {share.points}")
        self.auxiliary = dict(auxiliary)
        self.share = share
        self.weights = tempered([len(dataset) for dataset in self.auxiliary.values()], alpha)
        self.mixed = MixedDataset([train, *self.auxiliary.values()])
        log = self.items["train"]
        self.items["train"] = ItemLog(
            "train", num_items=len(self.mixed), max_bad_share=log.max_bad_share, num_workers=self.num_workers
        )

    def batches_per_epoch(self, *, num_replicas: int) -> int:
        """Batches of each rank in one pass over the target, as the schedule has it on the whole."""
        return math.ceil(super().batches_per_epoch(num_replicas=num_replicas) / (1 - self.share.mean()))

    def _training(self) -> tuple[Dataset, Sampler]:
        _, target = super()._training()
        if not isinstance(target, BudgetBatchSampler):
            raise TypeError(f"expected the sampler of one corpus, got {type(target).__name__}")
        samplers = {"target": target}
        for number, (name, dataset) in enumerate(self.auxiliary.items(), 1):
            samplers[name] = BudgetBatchSampler(
                dataset.lengths,
                max_padded_length=self.budget,
                seed=draw_seed(self.seed, 0, number),
                num_buckets=self.num_buckets,
                rank=target.rank,
                num_replicas=target.num_replicas,
                max_items=self.max_items,
            )
        num_batches = self.num_train_batches or self.batches_per_epoch(num_replicas=target.num_replicas)
        return self.mixed, MixedSampler(samplers, plan_batches(num_batches, self.share, self.weights))
