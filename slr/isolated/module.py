"""The LightningModule that trains the recogniser of isolated signs."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from signwave import bundle, command
from signwave.training.ranks import no_gradient
from signwave.training.schedules import learning_rate_factor
from slr.crosslingual.segments import BLANK_GLOSS
from slr.isolated.bags import BagBatch, Dictionary, by_bag, mean_of_bags
from slr.isolated.figures import figures, fit_temperature, ranks
from slr.isolated.losses import BagLossConfig, bag_losses
from slr.isolated.model import IsolatedSigns, Pooled
from slr.medium import ISOLATED_KIND
from slr.training.augmentation import FrameAugmentation

Augment = Callable[[Tensor, Tensor], Tensor]


class _Seen:
    """Outputs of one split, by language."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Tensor]] = defaultdict(list)
        self.labels: dict[str, list[int]] = defaultdict(list)
        self.places: dict[str, list[int]] = defaultdict(list)

    def add(self, batch: BagBatch, log_probs: Tensor) -> None:
        self.rows[batch.language].append(log_probs.float().cpu())
        self.labels[batch.language] += batch.labels.tolist()
        self.places[batch.language] += batch.places

    def log_probs(self, language: str) -> Tensor:
        return torch.cat(self.rows[language])


class IsolatedTraining(pl.LightningModule):
    """Bags in, cross-entropies of windows, bags and foregrounds; chosen by the mean top-1 of the languages.

    Where there are no test signs the test round measures nothing; it only fits the temperatures on dev.

    Args:
        model: what is trained.
        dictionaries: language → its classes and the signs of dev and test, for the figures.
        targets: language → (V, V) float32, see `soft_targets`.
        losses: weights.
        augmentation: of frames, on the device.
        keypoint_augmentation: of keypoints, on the device.
        optimiser: makes the optimiser from parameters.
        schedule: after the warm-up, see `learning_rate_factor`.
        warmup_steps: of the optimiser.
        bundle_config: plain values from which the model is built again.
        bundle_info: facts for the user of the model.
    """

    def __init__(
        self,
        model: IsolatedSigns,
        *,
        dictionaries: Mapping[str, tuple[Dictionary, Dictionary]],
        targets: Mapping[str, Tensor],
        losses: BagLossConfig,
        optimiser: Callable[[Any], torch.optim.Optimizer],
        schedule: Any = "cosine",
        warmup_steps: int = 0,
        augmentation: FrameAugmentation | None = None,
        keypoint_augmentation: Augment | None = None,
        bundle_config: dict[str, Any] | None = None,
        bundle_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.dictionaries = dict(dictionaries)
        for number, language in enumerate(model.languages):
            self.register_buffer(f"targets_{number}", targets[language], persistent=False)
        self.losses = losses
        self.make_optimiser, self.schedule, self.warmup_steps = optimiser, schedule, warmup_steps
        self.augmentation, self.keypoint_augmentation = augmentation, keypoint_augmentation
        self.bundle_config, self.bundle_info = bundle_config or {}, bundle_info or {}
        self.temperatures = dict.fromkeys(model.languages, 1.0)
        self._seen = _Seen()
        self._figures: dict[str, Any] = {}

    def on_after_batch_transfer(self, batch: BagBatch, dataloader_idx: int) -> BagBatch:
        """Augment where the batch lies; the windows of a bag alike."""
        if batch.chances is None:
            return batch
        chances = batch.chances.repeat_interleave(batch.inputs.shape[1], dim=0)
        inputs, points = batch.inputs, batch.points
        if self.augmentation is not None and "frames" in self.model.reads:
            inputs = by_bag(self.augmentation(inputs.flatten(0, 1), chances), len(batch))
        if self.keypoint_augmentation is not None:
            if self.model.reads == "keypoints":
                inputs = by_bag(self.keypoint_augmentation(inputs.flatten(0, 1), chances), len(batch))
            elif points is not None:
                points = by_bag(self.keypoint_augmentation(points.flatten(0, 1), chances), len(batch))
        return dataclasses.replace(batch, inputs=inputs, points=points)

    def training_step(self, batch: BagBatch, batch_idx: int) -> Tensor:
        """The weighed loss."""
        pooled = self.pool(batch, with_foreground=self.losses.foreground > 0)
        targets = self.get_buffer(f"targets_{self.model.languages.index(batch.language)}")[batch.labels]
        parts = bag_losses(
            self.model.classify(pooled.whole, batch.language),
            None if pooled.foreground is None else self.model.classify(pooled.foreground, batch.language),
            targets,
            batch.labels > 0,
            self.losses,
        )
        self.log("train/loss", parts["total"].detach(), batch_size=len(batch), prog_bar=True)
        for name in ("instance", "bag", "foreground"):
            self.log(f"train/{name}", parts[name].detach(), batch_size=len(batch))
        if self.trainer.world_size == 1:
            return parts["total"]
        # The batches of two ranks may be of two languages, and ranks wait for a gradient of every classifier.
        return parts["total"] + no_gradient(self.model.classifiers.parameters())

    def pool(self, batch: BagBatch, *, with_foreground: bool = False) -> Pooled:
        """What the trunk sees in the windows of a batch, (B * K, D) for each stream."""
        pooled: Pooled = self.model(
            batch.inputs.flatten(0, 1),
            batch.num_frames,
            points=None if batch.points is None else batch.points.flatten(0, 1),
            foreground=batch.foreground.flatten(0, 1) if with_foreground else None,
        )
        return pooled

    def log_probs(self, batch: BagBatch) -> Tensor:
        """(B, V) float32, natural log of the mean probability of a bag's windows."""
        return mean_of_bags(self.model.probabilities(self.pool(batch).whole, batch.language), len(batch))

    def on_validation_epoch_start(self) -> None:
        """Forget the last round."""
        self._seen = _Seen()

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Keep the outputs."""
        self._seen.add(batch, self.log_probs(batch))

    def on_validation_epoch_end(self) -> None:
        """Log val/error, one less the mean top-1 of the languages; dev is small, so each rank sees its share alone.

        Blanks count only where a language has nothing else: a corpus may hold as many of them as signs.
        """
        rates = []
        for language, found in self._seen.labels.items():
            labels = torch.tensor(found)
            right = ranks(self._seen.log_probs(language), labels) == 0
            counted = labels > 0 if bool((labels > 0).any()) else labels == 0
            rates.append(float(right[counted].float().mean()))
        self.log("val/error", 1 - sum(rates) / max(1, len(rates)), batch_size=1, prog_bar=True, sync_dist=True)

    def on_test_start(self) -> None:
        """Fit the temperatures on dev."""
        datamodule: Any = getattr(self.trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        self._figures = {"temperatures": self.temperatures}
        seen = _Seen()
        if datamodule.splits["val"] is not None:
            for batch in datamodule.whole_val_dataloader():
                moved = batch.to(self.device)
                with torch.no_grad(), self.trainer.precision_plugin.test_step_context():
                    seen.add(moved, self.log_probs(moved))
            for language, labels in seen.labels.items():
                self.temperatures[language] = fit_temperature(seen.log_probs(language), labels)
            self._figures["dev"] = self._tell("dev", seen, 0)
        self._seen = _Seen()

    @property
    def _has_test(self) -> bool:
        return any(len(test.signs) for _, test in self.dictionaries.values())

    def test_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Keep the outputs."""
        self._seen.add(batch, self.log_probs(batch))

    def on_test_epoch_end(self) -> None:
        """Log test/top1 and the like, as means over languages."""
        if not self._has_test:
            return
        found = self._figures["test"] = self._tell("test", self._seen, 1)
        for name in ("top1", "top5", "class_top1"):
            rates = [figure[name] for figure in found.values() if name in figure]
            if rates:
                self.log(f"test/{name}", sum(rates) / len(rates), batch_size=1)

    def figures(self) -> dict[str, Any]:
        """What results.json holds beside the metrics."""
        return self._figures

    def configure_optimizers(self) -> Any:
        """The optimiser with its schedule, stepped once an optimiser step."""
        optimiser = self.make_optimiser([p for p in self.model.parameters() if p.requires_grad])
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return learning_rate_factor(step, total, self.warmup_steps, self.schedule)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def export(self, folder: str | Path) -> None:
        """Write the bundle."""
        info = {
            "stride": self.model.stride,
            "reads": self.model.reads,
            "temperatures": self.temperatures,
            **self.bundle_info,
        }
        bundle.save(folder, kind=ISOLATED_KIND, model=self.model, config=self.bundle_config, info=info)

    def _tell(self, split: str, seen: _Seen, number: int) -> dict[str, Any]:
        found = {}
        for language, labels in seen.labels.items():
            dictionary = self.dictionaries[language][number]
            origins = [dictionary.signs[place].origin for place in seen.places[language]]
            calibrated = (seen.log_probs(language) / self.temperatures[language]).log_softmax(1)
            found[language] = {
                **figures(calibrated, labels, origins),
                "split": dictionary.split,
                "num_unknown": dictionary.num_unknown,
                "num_failed": len(dictionary.signs) - len(labels),  # --smoke looks at one batch: the rest counts here
            }
            if "top1" in found[language] and self.trainer.is_global_zero:
                command.say(f"{split}, {language} ({dictionary.split}): {_line(found[language])}")
        return found


def _line(one: Mapping[str, Any]) -> str:
    low, high = one["interval_95"]
    told = [
        f"top-1 {100 * one['top1']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], top-5 {100 * one['top5']:.1f} %",
        f"by class {100 * one['class_top1']:.1f} and {100 * one['class_top5']:.1f} %",
        f"{one['num_signs']} signs of {one['num_classes']} glosses",
    ]
    if one["num_unknown"] or one["num_failed"]:
        told[-1] += f" ({one['num_unknown']} of glosses without training signs, {one['num_failed']} not looked at)"
    if "blank_recall" in one:
        told.append(f"{100 * one['blank_recall']:.1f} % of {BLANK_GLOSS} known")
    return "; ".join(told)


def make_targets(dictionaries: Sequence[Dictionary], make: Callable[[Dictionary], Tensor]) -> dict[str, Tensor]:
    """Language → what each class should give."""
    return {one.name: make(one) for one in dictionaries}
