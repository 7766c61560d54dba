"""Training of sign recognisers: all heads, augmentation on the device, every choice made on dev, one look at test."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signwave import bundle, command
from signwave.batch import Encoded
from signwave.ctc import Clock, Hypothesis, NgramLm
from signwave.ctc.peaky import LabelPriors
from signwave.errors import ConfigError
from signwave.manifest import Clip
from signwave.training.ctc_module import CtcBatch, CtcModule
from slr.decoding import LM_FILE
from slr.keypoints.augmentation import KeypointAugmentation
from slr.models.interface import MAIN, Heads, first_edge_frames
from slr.training.augmentation import FrameAugmentation
from slr.training.batch import SignBatch
from slr.training.decoder_choice import GREEDY, GlossDecoder, GlossLmConfig, Scored, choose_decoder
from slr.training.losses import objective
from slr.training.outcome import Outcome, Scores


class SignRecognition(CtcModule):
    """CTC training of any model in slr.models.

    Beside CtcModule's figures it logs each term of the loss (train/ctc_main, …). After training the decoder is chosen
    on the val split, and the test split is decoded once with it: hypotheses, scores by protocol and tables of errors go
    to the run folder (see slr.training.outcome).

    Args:
        model: a SignModel; exported as it is.
        train_texts: glosses of the training clips: for the language model, and to tell what is seen rarely or never.
        augmentation: of frames, on the device; None for none.
        keypoint_augmentation: of keypoints, on the device; None for none.
        lm: the language model to train beside, and the decoders to try.
        entropy_weight: see slr.training.losses.objective.
        prior_alpha: power of the label priors that the main head's posteriors are divided by in training; 0 = none. See
            signwave.ctc.peaky.LabelPriors.
        prior_every_steps: batches between two updates of the priors.
        protocols: how the outcome is scored, see slr.scoring.
        options: everything else goes to CtcModule.

    Raises:
        ConfigError: label priors are asked for, and the model's main head has no CTC loss to divide.
    """

    model: Any

    def __init__(
        self,
        model: nn.Module,
        *,
        train_texts: Sequence[str] = (),
        augmentation: FrameAugmentation | None = None,
        keypoint_augmentation: KeypointAugmentation | None = None,
        lm: GlossLmConfig | None = None,
        entropy_weight: float = 0.0,
        prior_alpha: float = 0.0,
        prior_every_steps: int = 200,
        protocols: Sequence[str] = ("plain",),
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.model = model
        self.head_losses = self.model.losses()
        if prior_alpha and MAIN not in self.head_losses.ctc:
            raise ConfigError(
                f"prior_alpha={prior_alpha} divides the main head's posteriors, and {type(model).__name__} trains only "
                f"{', '.join(self.head_losses.ctc)}; give prior_alpha=0, or entropy_weight against peaky posteriors"
            )
        self.train_texts = list(train_texts)
        self.augmentation = augmentation
        self.keypoint_augmentation = keypoint_augmentation
        self.lm_settings = lm or GlossLmConfig()
        self.entropy_weight = entropy_weight
        self.priors = LabelPriors(self.vocabulary.size, alpha=prior_alpha) if prior_alpha else None
        self.prior_every_steps = prior_every_steps
        self.protocols = tuple(protocols)
        self.decoder: GlossDecoder = GREEDY
        self.lm: NgramLm | None = None
        self.deploy: Callable[[], Any] | None = None
        """What the bundle holds in place of the model that was trained: see slr.features.recipe.Deployed."""
        self._outputs: dict[str, Scored] = {}
        self._figures: dict[str, Any] = {}

    def on_after_batch_transfer(self, batch: CtcBatch, dataloader_idx: int) -> CtcBatch:
        """Change tempo, picture and keypoints where the batch lies."""
        if not isinstance(batch, SignBatch):
            return batch
        batch = batch.resampled()
        if batch.chances is None:
            return batch
        inputs, points = batch.inputs, batch.points
        if self.augmentation is not None and "frames" in self.model.reads:
            inputs = self.augmentation(inputs, batch.chances)
        if self.keypoint_augmentation is not None:
            if self.model.reads == "keypoints":
                inputs = self.keypoint_augmentation(inputs, batch.chances)
            elif points is not None:
                points = self.keypoint_augmentation(points, batch.chances)
        return dataclasses.replace(batch, inputs=inputs, points=points)

    def encode(self, batch: CtcBatch) -> Encoded:
        """Log-probabilities of the head that decoding reads."""
        encoded: Encoded = self.model(batch.inputs, batch.num_frames, **self._streams(batch))
        return encoded

    def references(self, batch: CtcBatch) -> list[str]:
        """The glosses of each clip, those that training never saw among them."""
        if isinstance(batch, SignBatch) and batch.texts:
            return list(batch.texts)
        return super().references(batch)

    def training_step(self, batch: CtcBatch, batch_idx: int) -> Tensor:
        """The weighed loss of all heads."""
        if not isinstance(batch, SignBatch):
            raise TypeError(f"expected a SignBatch, got {type(batch).__name__}")
        heads: Heads = self.model.heads(batch.inputs, batch.num_frames, **self._streams(batch))
        found = objective(heads, batch, self.head_losses, priors=self.priors, entropy_weight=self.entropy_weight)
        self.log("train/loss", found.total.detach(), batch_size=len(batch), prog_bar=True)
        for name, value in found.parts.items():
            self.log(f"train/{name}", value, batch_size=len(batch))
        self.log("train/num_infeasible", found.num_infeasible.float(), batch_size=len(batch))
        return found.total

    def on_train_batch_end(self, outputs: Any, batch: CtcBatch, batch_idx: int) -> None:
        """Bring the label priors up to date now and then."""
        if self.priors is not None and (batch_idx + 1) % self.prior_every_steps == 0:
            self.priors.refresh()

    def on_test_start(self) -> None:
        """Train the language model on the training glosses and choose the decoder on the val split."""
        datamodule: Any = getattr(self.trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        self._outputs, self._figures = {}, {}
        if datamodule.splits["val"] is None:
            return
        if self.lm_settings.order and self.train_texts:
            sentences = [text.split() for text in self.train_texts]
            self.lm = NgramLm.train(sentences, order=self.lm_settings.order, vocabulary=self.vocabulary.tokens[1:])
        held_out: dict[str, Scored] = {}
        # Every rank sees all of dev, or each would choose a decoder of its own; in the precision of the test.
        for batch in datamodule.whole_val_dataloader():
            moved = self.on_after_batch_transfer(batch.to(self.device), 0)
            with torch.no_grad(), self.trainer.precision_plugin.test_step_context():
                held_out |= self._scored(moved, self.encode(moved))
        outputs = list(held_out.values())
        self.decoder, tried = choose_decoder(outputs, self.lm, self.vocabulary, self.lm_settings)
        self._figures["decoder"] = {"chosen": self.decoder.to_dict(), "tried_on_dev": tried}
        self._tell("dev", held_out, "val")

    def test_step(self, batch: CtcBatch, batch_idx: int) -> None:
        """Count greedy errors and keep the outputs for the decoder that was chosen."""
        self._outputs |= self._scored(batch, self._count(batch))

    def on_test_epoch_end(self) -> None:
        """Log test/… and write what came out."""
        super().on_test_epoch_end()
        scores = self._tell("test", self._outputs, "test")
        for name, figure in scores.headline().items():
            self.log(f"test/{name}", figure, batch_size=max(1, len(self._outputs)))

    def compile_parts(self) -> None:
        """Compile what evaluation calls, and what training does: all heads, which the model's call doesn't give."""
        self.model.compile(dynamic=True)
        self.model.heads = torch.compile(self.model.heads, dynamic=True)

    def figures(self) -> dict[str, Any]:
        """What results.json holds beside the metrics: the decoder, and each split's scores by protocol."""
        return self._figures

    def export(self, folder: str | Path) -> None:
        """Write the bundle, with the decoder that dev chose and its language model."""
        if not self.bundle_kind:
            return
        deployed = self.deploy() if self.deploy is not None else None
        model: Any = self.encoder if deployed is None else deployed.model
        info = {
            "stride": int(model.stride),
            "reads": model.reads,
            "decoder": self.decoder.to_dict(),
            **self.bundle_info,
            **({} if deployed is None else deployed.info),
        }
        with tempfile.TemporaryDirectory() as temporary:
            files = {}
            if self.lm is not None and self.decoder.lm_weight:
                files[LM_FILE] = Path(temporary) / LM_FILE
                self.lm.write_arpa(files[LM_FILE])
            bundle.save(
                folder,
                kind=self.bundle_kind,
                model=model,
                config=self.bundle_config if deployed is None else deployed.config,
                vocabulary=self.vocabulary,
                normaliser=self.normaliser,
                info=info,
                files=files,
            )

    def _streams(self, batch: CtcBatch) -> dict[str, Any]:
        """What the model takes beside inputs and lengths."""
        if not isinstance(batch, SignBatch):
            return {}
        found: dict[str, Any] = {}
        if self.model.reads == "frames+keypoints":
            found["points"] = batch.points
        if getattr(self.model, "gathers_frames", False) and batch.num_valid:
            found["num_valid"] = batch.num_valid
        return found

    def _scored(self, batch: CtcBatch, encoded: Encoded) -> dict[str, Scored]:
        sizes = encoded.num_steps.tolist()
        rows = [row[:size].float().cpu() for row, size in zip(encoded.log_probs, sizes, strict=True)]
        texts = self.references(batch)
        return {name: Scored(row, text) for name, row, text in zip(batch.ids, rows, texts, strict=True)}

    def _clock(self) -> Clock:
        rate_hz = float(self.bundle_info.get("rate_hz", 25.0))
        first = first_edge_frames(self.model, self.model.stride)
        return Clock(stride_seconds=self.model.stride / rate_hz, offset_seconds=first / rate_hz)

    def _tell(self, split: str, outputs: dict[str, Scored], name: str) -> Scores:
        """Decode a split with the chosen decoder, keep its figures, and write hypotheses and tables.

        Args:
            split: what its files are called.
            outputs: of the clips that could be read; the others are scored as missing, or a broken file would better
                the rate.
            name: of the split in the data module.
        """
        datamodule: Any = getattr(self.trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        rows: Sequence[Clip] = getattr(datamodule.splits[name], "clips", ())
        bad = [rows[index] for index in datamodule.items[name].bad if index < len(rows)]
        unread = {clip.id: " ".join(clip.text.split()) for clip in bad if clip.id not in outputs}
        hypotheses = self.decoder.decode([output.log_probs for output in outputs.values()], self.vocabulary, self.lm)
        named: dict[str, Hypothesis] = dict(zip(outputs, hypotheses, strict=True))
        outcome = Outcome(
            references={clip_id: output.text for clip_id, output in outputs.items()} | unread,
            hypotheses=named,
            clips={clip.id: clip for clip in rows},
            vocabulary=self.vocabulary,
            clock=self._clock(),
        )
        scores = outcome.scores(protocols=self.protocols, train_texts=self.train_texts)
        self._figures[split] = scores.figures
        if self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir)
            outcome.save(folder, split)
            scores.write(folder, split)
            command.say(f"{split}, {self.decoder}: {scores.summary}")
        return scores
