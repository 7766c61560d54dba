"""The LightningModule that every CTC recogniser trains with: it knows log-probabilities and labels, no task."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from signwave import bundle
from signwave.batch import Batch, Encoded
from signwave.ctc.greedy import greedy
from signwave.ctc.labels import check_labels
from signwave.ctc.loss import CtcLoss, ctc_loss
from signwave.errors import ConfigError
from signwave.metrics import EditCounts, count_edits, split_units
from signwave.text import Normaliser, Vocabulary
from signwave.training.schedules import UNLIMITED_STEPS, Schedule, TriStage, learning_rate_factor

Optimiser = Literal["adamw", "adam"]
ParameterGroups = Callable[[nn.Module], Iterable[dict[str, Any]]]


@dataclass(frozen=True, repr=False)
class CtcBatch(Batch):
    """What a CTC dataset's `collate` returns; subclasses may add fields.

    inputs: (B, T, ...) float32, features, poses or audio (then T counts samples); zero past num_frames.
    num_frames: (B,) int64, valid frames of each item.
    labels: (B, N) int64 in [1, V), token ids; zero past num_labels.
    num_labels: (B,) int64, valid labels of each item.
    ids: B clip ids.
    """

    inputs: Tensor
    num_frames: Tensor
    labels: Tensor
    num_labels: Tensor
    ids: tuple[str, ...]

    def check(self) -> None:
        """Raise ValueError if the fields contradict each other."""
        super().check()
        if len(self.ids) != len(self):
            raise ValueError(f"{len(self)} items but {len(self.ids)} ids")
        if int(self.num_frames.max()) > self.inputs.shape[1] or int(self.num_frames.min()) < 1:
            raise ValueError(f"num_frames must lie in [1, {self.inputs.shape[1]}], got {self.num_frames.tolist()}")
        if int(self.num_labels.max()) > self.labels.shape[1]:
            raise ValueError(f"num_labels must be at most {self.labels.shape[1]}, got {self.num_labels.tolist()}")


class CtcModule(pl.LightningModule):
    """CTC training, validation by greedy decoding, and export of the encoder.

    Logs train/loss, train/num_infeasible, val/loss, val/wer (words) and, unless tokens are words, val/cer.
    The counts behind the rates add up, so they are exact on any number of ranks.

    Args:
        encoder: `encoder(inputs, num_frames) -> Encoded`; its attribute `stride` is the input frames per step.
        vocabulary: tokens of the labels, id 0 is the blank.
        normaliser: text normaliser the labels went through; stored in the bundle.
        learning_rate: peak of the schedule, for groups that don't give their own `lr`.
        schedule: what follows the warm-up: constant, down to zero at the last step, or down by steps; or "tri_stage",
            which has a rise of its own.
        milestones: for "steps", the shares of the run after which the rate falls to `milestone_factor` of what it was.
        milestone_factor: see above.
        tri_stage: for "tri_stage": shares of the run and factors.
        optimiser: "adamw", or "adam", whose weight decay is added to the gradient, as most published recipes have it.
        betas: of the optimiser.
        warmup_steps: optimiser steps of linear rise.
        weight_decay: of the optimiser.
        parameter_groups: gets the encoder, returns AdamW's groups (`{"params": …, "lr": …}`); default one group.
        bundle_kind: kind of the exported bundle, e.g. "slr.pose_conv"; empty: `export` writes nothing.
        bundle_config: plain values from which the same encoder is built again.
        bundle_info: facts for the user of the model (rate, training data, licence).
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        vocabulary: Vocabulary,
        normaliser: Normaliser | None = None,
        learning_rate: float = 1e-3,
        schedule: Schedule = "cosine",
        milestones: Sequence[float] = (0.5, 0.875),
        milestone_factor: float = 0.2,
        tri_stage: TriStage | None = None,
        optimiser: Optimiser = "adamw",
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_steps: int = 0,
        weight_decay: float = 0.01,
        parameter_groups: ParameterGroups | None = None,
        bundle_kind: str = "",
        bundle_config: dict[str, Any] | None = None,
        bundle_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.vocabulary = vocabulary
        self.normaliser = normaliser
        self.learning_rate = learning_rate
        self.schedule: Schedule = schedule
        self.milestones, self.milestone_factor = tuple(milestones), milestone_factor
        self.tri_stage = tri_stage or TriStage()
        self.optimiser: Optimiser = optimiser
        self.betas = betas
        self.warmup_steps = warmup_steps
        self.weight_decay = weight_decay
        self.parameter_groups = parameter_groups
        self.bundle_kind = bundle_kind
        self.bundle_config = dict(bundle_config or {})
        self.bundle_info = dict(bundle_info or {})
        self._counts = _Counts()

    def forward(self, inputs: Tensor, num_frames: Tensor) -> Encoded:
        """Log-probabilities of a padded batch.

        inputs: (B, T, ...) float32, zero past num_frames.
        num_frames: (B,) int64.
        """
        encoded: Encoded = self.encoder(inputs, num_frames)
        return encoded

    def encode(self, batch: CtcBatch) -> Encoded:
        """Log-probabilities of a batch; a task whose model takes more than inputs and lengths overrides it."""
        return self(batch.inputs, batch.num_frames)  # type: ignore[no-any-return]

    def references(self, batch: CtcBatch) -> list[str]:
        """What each item should have given, as it is scored."""
        rows = zip(batch.labels.tolist(), batch.num_labels.tolist(), strict=True)
        return [self.vocabulary.decode(labels[:size]) for labels, size in rows]

    def on_before_batch_transfer(self, batch: CtcBatch, dataloader_idx: int) -> CtcBatch:
        """Refuse bad labels by name while they still lie on the CPU: on a GPU nobody could say which item it was."""
        check_labels(batch.labels, batch.num_labels, vocab_size=self.vocabulary.size, ids=batch.ids)
        return batch

    def training_step(self, batch: CtcBatch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        result = self._loss(batch, self.encode(batch))
        self.log("train/loss", result.loss.detach(), batch_size=len(batch), prog_bar=True)
        self.log("train/num_infeasible", result.num_skipped.float(), batch_size=len(batch))
        return result.loss

    def validation_step(self, batch: CtcBatch, batch_idx: int) -> None:
        """Count errors of greedy decoding."""
        self._count(batch)

    def test_step(self, batch: CtcBatch, batch_idx: int) -> None:
        """Count errors of greedy decoding."""
        self._count(batch)

    def on_validation_epoch_start(self) -> None:
        """Forget the last round's counts."""
        self._counts = _Counts()

    def on_test_epoch_start(self) -> None:
        """Forget the last round's counts."""
        self._counts = _Counts()

    def on_validation_epoch_end(self) -> None:
        """Log val/…"""
        self._log_rates("val")

    def on_test_epoch_end(self) -> None:
        """Log test/…"""
        self._log_rates("test")

    def configure_optimizers(self) -> Any:
        """The optimiser with a linear warm-up and the chosen schedule, stepped once an optimiser step."""
        groups = (
            list(self.parameter_groups(self.encoder))
            if self.parameter_groups is not None
            else [{"params": [p for p in self.encoder.parameters() if p.requires_grad]}]
        )
        kind = torch.optim.AdamW if self.optimiser == "adamw" else torch.optim.Adam
        optimiser = kind(groups, lr=self.learning_rate, weight_decay=self.weight_decay, betas=self.betas)
        total = int(self.trainer.estimated_stepping_batches)
        if self.schedule == "tri_stage" and total >= UNLIMITED_STEPS:
            raise ConfigError("schedule tri_stage divides the run into three; set train.max_steps or train.max_epochs")

        def factor(step: int) -> float:
            if self.schedule == "tri_stage":
                return self.tri_stage.factor(step, total)
            if self.schedule == "steps" and step >= self.warmup_steps:
                return self.milestone_factor ** sum(step >= share * total for share in self.milestones)
            return learning_rate_factor(step, total, self.warmup_steps, self.schedule)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def export(self, folder: str | Path) -> None:
        """Write the encoder as a bundle, unless no `bundle_kind` was given."""
        if not self.bundle_kind:
            return
        info = {"stride": int(getattr(self.encoder, "stride", 1)), **self.bundle_info}
        bundle.save(
            folder,
            kind=self.bundle_kind,
            model=self.encoder,
            config=self.bundle_config,
            vocabulary=self.vocabulary,
            normaliser=self.normaliser,
            info=info,
        )

    def _loss(self, batch: CtcBatch, encoded: Encoded) -> CtcLoss:
        return ctc_loss(encoded.log_probs, encoded.num_steps, batch.labels, batch.num_labels, ids=batch.ids)

    def _count(self, batch: CtcBatch) -> Encoded:
        """Add a batch to the counts; returns the model's output for what a task does beside."""
        encoded = self.encode(batch)
        result = self._loss(batch, encoded)
        self._counts.loss += float(result.per_item.double().sum())
        self._counts.num_items += len(batch) - int(result.num_skipped)
        hypotheses = greedy(encoded.log_probs, encoded.num_steps)
        for hypothesis, reference in zip(hypotheses, self.references(batch), strict=True):
            self._counts.add(self.vocabulary.decode(hypothesis.tokens), reference, self.vocabulary)
        return encoded

    def _log_rates(self, split: str) -> None:
        totals = self._counts.tensor().to(self.device)
        if self.trainer.world_size > 1:
            totals = self.trainer.strategy.reduce(totals, reduce_op="sum")
        loss, num_items, word_errors, num_words, char_errors, num_chars = totals.tolist()
        size = max(1, int(num_items))
        self.log(f"{split}/loss", loss / size, batch_size=size)
        self.log(f"{split}/wer", word_errors / max(1.0, num_words), batch_size=size, prog_bar=True)
        if self.vocabulary.unit != "word":
            self.log(f"{split}/cer", char_errors / max(1.0, num_chars), batch_size=size)


class _Counts:
    """Sums of one validation round; they add up over batches and ranks."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.num_items = 0
        self.words = EditCounts()
        self.chars = EditCounts()

    def add(self, hypothesis: str, reference: str, vocabulary: Vocabulary) -> None:
        self.words += count_edits(reference.split(), hypothesis.split())
        if vocabulary.unit != "word":
            self.chars += count_edits(split_units(reference, unit="char"), split_units(hypothesis, unit="char"))

    def tensor(self) -> Tensor:
        """(6,) float64: loss, items, word errors, words, character errors, characters."""
        words, chars = self.words, self.chars
        numbers = [
            self.loss,
            self.num_items,
            words.num_errors,
            words.num_reference,
            chars.num_errors,
            chars.num_reference,
        ]
        return torch.tensor(numbers, dtype=torch.float64)
