"""The LightningModule of self-supervised pretraining: masks, objective, normalisation over ranks, held-out losses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from asr.features import FeatureSettings
from asr.pretraining.best_rq import BestRqObjective
from asr.pretraining.config import EncoderConfig, Objective, ObjectiveConfig, Temperature
from asr.pretraining.contrastive import Loss
from asr.pretraining.data import PretrainingBatch
from asr.pretraining.encoders import MaskedEncoder
from asr.pretraining.export import export_encoder
from asr.pretraining.guard import HealthGuard
from asr.pretraining.health import GuardConfig, Health, LossSums
from asr.pretraining.held_out import HeldOut
from asr.pretraining.masking import SpanSettings, masked_positions, sample_spans
from asr.pretraining.optimiser import Anchor, PretrainingOptimiserConfig, apply_rate, make_optimiser
from signwave.errors import ConfigError
from signwave.training.checkpoints import KeepCheckpoints
from signwave.training.data import DataModule
from signwave.training.ranks import no_gradient


class Pretraining(pl.LightningModule):
    """Masked prediction on untranscribed speech.

    The loss is a sum over masked frames; the gradient is divided by their number over all ranks and micro-batches of a
    step, so a step is the same however it is split. Masks and noise of a batch come from the seeds of its clips.

    Logs of each step train/loss (by masked frame), train/accuracy, train/code_perplexity, …; of each validation
    val/loss, val/accuracy, val/code_perplexity and val/loss_LANGUAGE. val/loss is infinite after a collapse, whose loss
    of 0 would otherwise be the best of the run.

    Args:
        encoder: with the donor's weights, if there is a donor.
        objective: contrastive or BEST-RQ.
        spans: how much is masked.
        temperature: of the quantiser.
        optimiser: rates.
        guard: thresholds of the health guard.
        languages: of the held-out clips.
        frozen_feature_steps: in which the convolutions don't learn.
        anchored: whether the weights as they are now are a donor's, which anchor_weight needs.
        export: what `export_encoder` needs beside the weights.
    """

    def __init__(
        self,
        encoder: MaskedEncoder,
        objective: Objective,
        *,
        spans: SpanSettings,
        temperature: Temperature,
        optimiser: PretrainingOptimiserConfig,
        guard: GuardConfig,
        languages: Sequence[str],
        frozen_feature_steps: int = 0,
        anchored: bool = False,
        encoder_config: dict[str, Any],
        settings: FeatureSettings,
        info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective
        self.spans, self.temperature, self.optimiser, self.guard = spans, temperature, optimiser, guard
        self.frozen_feature_steps = frozen_feature_steps
        self.feature_gradient = encoder.feature_gradient
        self.encoder_config, self.settings, self.info = dict(encoder_config), settings, dict(info or {})
        self.health: Health | None = None
        """Figures of the last optimiser step, over all ranks."""
        self.rate_scale = 1.0
        """The health guard lowers it."""
        self.held_out = HeldOut(languages)
        self._sums = LossSums()
        self._anchor: Anchor | None = None
        if optimiser.anchor_weight and not anchored:
            raise ConfigError("optimiser.anchor_weight needs encoder.donor_dir: there is nothing to stay close to")
        if optimiser.anchor_weight:
            self._anchor = Anchor(encoder.parameters(), optimiser.anchor_weight)

    @classmethod
    def of(
        cls, encoder: EncoderConfig, data: DataModule, *, objective: ObjectiveConfig,
        optimiser: PretrainingOptimiserConfig, guard: GuardConfig, name: str,
    ) -> Pretraining:  # fmt: skip
        """Put a recipe's parts together.

        Args:
            encoder: donor or architecture.
            data: splits of `PretrainingDataset`s.
            objective: what is learnt.
            optimiser: rates.
            guard: thresholds.
            name: of the run, told in the bundle.
        """
        built = encoder.build()
        held_out: Any = data.splits["val"]
        train: Any = data.splits["train"]
        languages = sorted({clip.language for clip in held_out.clips})
        info = {
            "name": name, "objective": objective.kind, "languages": sorted({clip.language for clip in train.clips}),
            "hours_train": round(train.hours, 4), "num_clips_train": len(train), "donor": Path(encoder.donor_dir).name,
        }  # fmt: skip
        return cls(
            built, objective.build(built, encoder.donor_dir), spans=objective.spans,
            temperature=objective.temperature(built, encoder.donor_dir), optimiser=optimiser, guard=guard,
            languages=languages, frozen_feature_steps=encoder.frozen_feature_steps, anchored=bool(encoder.donor_dir),
            encoder_config=encoder.values(), settings=encoder.features(), info=info,
        )  # fmt: skip

    @property
    def can_collapse(self) -> bool:
        """Whether the targets are learnt."""
        return not isinstance(self.objective, BestRqObjective)

    def configure_callbacks(self) -> list[Callback]:
        """The health guard, for objectives that can collapse."""
        return [HealthGuard(self.guard)] if self.guard.enabled and self.can_collapse else []

    def compute(self, batch: PretrainingBatch) -> Loss:
        """Mask, encode and compare one batch."""
        generator = torch.Generator(device=batch.inputs.device).manual_seed(_seed_of(batch.seeds))
        num_steps = self.encoder.num_steps(batch.num_frames)
        size = int(self.encoder.num_steps(torch.tensor([batch.inputs.shape[1]])))
        mask = sample_spans(num_steps, size, self.spans, generator=generator)
        masked = masked_positions(mask)
        context = self.encoder(batch.inputs, batch.num_frames, mask, generator=generator)
        if isinstance(self.objective, BestRqObjective):
            loss: Loss = self.objective(context.states, batch.targets, masked)
            return loss
        loss = self.objective(
            context.states, context.features, masked, penalty=context.penalty,
            gumbel_temperature=self.temperature.at(self._step), generator=generator,
        )  # fmt: skip
        return loss

    def on_train_batch_start(self, batch: PretrainingBatch, batch_idx: int) -> None:
        """Freeze or thaw the convolutions."""
        frozen = self._step < self.frozen_feature_steps
        self.encoder.feature_gradient = 0.0 if frozen else self.feature_gradient

    def training_step(self, batch: PretrainingBatch, batch_idx: int) -> Tensor:
        """Summed loss of one micro-batch; `on_after_backward` divides the gradient of the whole step."""
        loss = self.compute(batch)
        self._sums.add(loss)
        total: Tensor = loss.total * self.trainer.accumulate_grad_batches  # by which Lightning divides
        if self.trainer.world_size > 1:
            total = total + no_gradient(self.parameters())
        return total

    def on_after_backward(self) -> None:
        """After the last micro-batch: normalise the gradient, pull to the anchor, take the step's figures."""
        trainer = self.trainer
        if (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        vector, sums = self._reduced(self._sums.vector), self._sums
        self._sums = LossSums()
        health = sums.health(vector)
        scale = trainer.world_size / max(health.num_masked, 1)  # ranks' gradients arrive averaged
        if self.encoder.feature_gradient == 0 and self.encoder.feature_width is not None:
            for parameter in self.encoder.model.feature_extractor.parameters():
                parameter.grad = None  # weight decay would move what only stands still
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        for gradient in gradients:
            gradient.mul_(scale)
        if self._anchor is not None:
            self._anchor.pull()
        norm = float(torch.nn.utils.get_total_norm(gradients))
        self.health = Health(**{**vars(health), "gradient_norm": norm})
        for name, value in self.health.to_dict().items():
            self.log(f"train/{name}", value, batch_size=1, prog_bar=name == "loss")
        if self.can_collapse:
            self.log("train/temperature", self.temperature.at(self._step), batch_size=1)

    def on_fit_start(self) -> None:
        """Hear the held-out clips before training, unless the run is resumed."""
        trainer = self.trainer
        datamodule: Any = getattr(trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        if trainer.ckpt_path is not None or datamodule.splits["val"] is None or self.held_out.before:
            return
        self.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for batch in datamodule.val_dataloader():
                self.held_out.add(self.compute(batch.to(self.device)), batch.languages)
        self.train()
        self.held_out.before = self.held_out.close(self._reduced).by_language

    def on_validation_epoch_start(self) -> None:
        """Forget an unfinished round."""
        self.held_out.reset()

    def validation_step(self, batch: PretrainingBatch, batch_idx: int) -> None:
        """Count one batch; its masks are the same each time."""
        self.held_out.add(self.compute(batch), batch.languages)

    def on_validation_epoch_end(self) -> None:
        """Log val/…"""
        figures = self.held_out.close(self._reduced)
        collapsed = self.can_collapse and bool(self.guard.collapse(figures.health))
        self.log("val/loss", float("inf") if collapsed else figures.loss, batch_size=1, prog_bar=True)
        self.log("val/accuracy", figures.health.accuracy, batch_size=1)
        self.log("val/code_perplexity", figures.health.code_perplexity, batch_size=1)
        for language, loss in figures.by_language.items():
            self.log(f"val/loss_{language}", loss, batch_size=1)

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and linear fall, stepped once an optimiser step."""
        total = int(self.trainer.estimated_stepping_batches)
        optimiser, self._scheduler = make_optimiser(
            self.parameters(), self.optimiser, total_steps=total, rate_scale=lambda: self.rate_scale
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": self._scheduler, "interval": "step"}}

    def apply_rate(self) -> None:
        """Put the rate into the optimiser again, after its state or `rate_scale` was changed."""
        apply_rate(self._scheduler)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What isn't a weight."""
        checkpoint["pretraining"] = {"rate_scale": self.rate_scale, "held_out_before": self.held_out.before}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        stored = checkpoint["pretraining"]
        self.rate_scale, self.held_out.before = stored["rate_scale"], stored["held_out_before"]

    def figures(self) -> dict[str, Any]:
        """For results.json: held-out loss of each language before and after, and what the guard did."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        best = next((one.best_metrics for one in callbacks if isinstance(one, KeepCheckpoints)), {})
        guard = next((one for one in callbacks if isinstance(one, HealthGuard)), None)
        return {
            "held_out_loss": self.held_out.report(best),
            "rollbacks": [] if guard is None else guard.rollbacks,
        }

    def export(self, folder: str | Path) -> None:
        """Write the encoder as a bundle that is a transformers folder too."""
        temperature = self.temperature.at(self._step) if self.can_collapse else None
        export_encoder(folder, self.encoder, self.objective, encoder_config=self.encoder_config,
                       settings=self.settings, info={**self.info, "temperature": temperature})  # fmt: skip

    @property
    def _step(self) -> int:
        return int(self.trainer.global_step)

    def _reduced(self, vector: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return vector
        reduced: Tensor = self.trainer.strategy.reduce(vector.to(self.device), reduce_op="sum")
        return reduced


def _seed_of(seeds: Sequence[int]) -> int:
    """One seed of those of a batch's clips."""
    digest = hashlib.blake2b(",".join(map(str, seeds)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
