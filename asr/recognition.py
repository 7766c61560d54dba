"""CTC speech recognition: the training module and the bundle it leaves, which asr.acoustic_model reads again."""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.acoustic_model import BUNDLE_KIND, LM_FILE
from asr.data import SpeechData
from asr.features import SAMPLE_RATE_HZ, FeatureSettings
from asr.head_start import train_head
from asr.language_model import Decoder, LanguageModelConfig, Scored, choose_decoder, train_lm
from asr.models.speech_ctc import SpeechCtc, SpeechCtcConfig
from asr.models.state_masks import StateMaskConfig, StateMasks, draw_masks
from asr.optimiser import OptimiserConfig
from asr.speech_dataset import SpeechBatch, SpeechDataset
from asr.tokenizers.tokenizer import FILE as TOKENIZER_FILE
from asr.tokenizers.tokenizer import Tokenizer
from signwave import bundle, metrics
from signwave.batch import Encoded
from signwave.ctc import CtcLoss, NgramLm, ctc_loss, greedy
from signwave.errors import ConfigError
from signwave.text import Vocabulary
from signwave.training.ctc_module import CtcBatch, CtcModule

HeadStart = Callable[[SpeechCtc, SpeechDataset, int], None]

log = logging.getLogger(__name__)


class SpeechRecognition(CtcModule):
    """CTC training with a language model that is trained beside and tried on the test split.

    Besides CtcModule's figures it logs test/wer_lm and test/cer_lm, 95 % intervals (`…_low`, `…_high`), the rates of
    each group of clips (test/cer_fa), and test/decoding_factor, decoding seconds per second of audio.

    Args:
        encoder: the model.
        lm_texts: normalised training texts; empty trains no language model.
        lm: order, unit and the settings to try.
        groups: clip id → groups it counts in, for figures by language or voice.
        head_start: changes the model before the first step, unless the run is resumed; gets it, the training split
            and the seed.
        masks: of the encoder's states in training.
        frozen_steps: optimiser steps in which the encoder gets no gradient.
        settings: features the encoder takes; stored in the bundle.
        arguments: of SpeechCtc, stored in the bundle.
        tokenizer: where the vocabulary's tokens are pieces; stored in the bundle.
        kwargs: of CtcModule.
    """

    encoder: SpeechCtc

    def __init__(
        self,
        encoder: SpeechCtc,
        *,
        settings: FeatureSettings,
        arguments: Mapping[str, Any],
        lm_texts: Sequence[str] = (),
        lm: LanguageModelConfig | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        head_start: HeadStart | None = None,
        masks: StateMaskConfig | None = None,
        frozen_steps: int = 0,
        tokenizer: Tokenizer | None = None,
        **kwargs: Any,
    ) -> None:
        config = {"features": settings.to_dict(), "model": dict(arguments)}
        super().__init__(encoder, bundle_kind=BUNDLE_KIND, bundle_config=config, **kwargs)
        self._lm_texts = list(lm_texts)
        self._lm_settings = lm or LanguageModelConfig(order=0)
        self._groups = dict(groups or {})
        self._head_start = head_start
        self._before_training: dict[str, float] = {}
        self._masks, self._frozen_steps = masks or StateMaskConfig(), frozen_steps
        self._tokenizer = tokenizer
        if tokenizer and tokenizer.pieces and self._lm_settings.order and self._lm_settings.unit == "word":
            raise ConfigError("lm.unit=word: pieces can't be looked up in a model of words; take lm.unit=char, then "
                              "it is a model of pieces")  # fmt: skip
        self._lm: NgramLm | None = None
        self._decoder: Decoder | None = None
        self._outputs: dict[str, Scored] = {}

    def on_fit_start(self) -> None:
        """Refuse clips that the encoder can't take; give the new layers a head start, unless the run is resumed."""
        self._refuse_long_clips()
        if self._head_start is None or self.trainer.ckpt_path is not None:
            return
        datamodule: Any = getattr(self.trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        with self.trainer.precision_plugin.forward_context():
            self._head_start(self.encoder, datamodule.splits["train"], datamodule.seed)
            held_out = self._held_out()
        if held_out:
            texts = [_greedy_text(scored.log_probs, self.vocabulary) for scored in held_out.values()]
            wrong = metrics.wer([scored.text for scored in held_out.values()], texts)
            self._before_training = {"val_wer_before_the_first_step": wrong}
            log.info("WER before the first step: %.4f", wrong)

    def figures(self) -> dict[str, float]:
        """For results.json: what the head start alone reaches."""
        return self._before_training

    @torch.no_grad()
    def _held_out(self) -> dict[str, Scored]:
        """The validation split's outputs."""
        datamodule: Any = getattr(self.trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        found: dict[str, Scored] = {}
        training = self.training
        self.eval()
        for batch in datamodule.val_dataloader() if datamodule.splits["val"] is not None else ():
            on_device = batch.to(self.device)
            found |= self._scored(on_device, self(on_device.inputs, on_device.num_frames))
        self.train(training)
        return found

    def _refuse_long_clips(self) -> None:
        """A clip beyond the encoder's positions would end the run in the middle of a validation."""
        limit = self.encoder.max_seconds
        datamodule: Any = getattr(self.trainer, "datamodule")  # noqa: B009 - Lightning sets it at run time
        for split, dataset in datamodule.splits.items() if limit is not None else ():
            if dataset is None or not len(dataset):
                continue
            longest = int(np.argmax(dataset.num_samples))
            seconds = dataset.num_samples[longest] / SAMPLE_RATE_HZ
            if seconds > limit:
                raise ConfigError(
                    f"{split} clip '{dataset.clips[longest].id}' is {seconds:.1f} s long, the encoder takes "
                    f"{limit:g} s; leave it out of the manifest, or take an encoder without that limit"
                )

    @classmethod
    def of(
        cls, model: SpeechCtcConfig, data: SpeechData, *, lm: LanguageModelConfig, optimiser: OptimiserConfig,
        name: str, settings: FeatureSettings | None = None, head_start: HeadStart | None = None, **kwargs: Any,
    ) -> "SpeechRecognition":  # fmt: skip
        """Put a recipe's parts together.

        Args:
            model: architecture and donor.
            data: splits, vocabulary and normaliser.
            lm: the language model to train beside.
            optimiser: learning rates, and the passes of the new layers alone.
            name: of the run, told in the bundle.
            settings: features that the encoder takes; None takes the model's.
            head_start: comes before these passes.
            kwargs: of a subclass.
        """

        def groups(encoder: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = encoder.parameter_groups(
                optimiser.learning_rate, encoder_factor=optimiser.encoder_factor, layer_decay=optimiser.layer_decay
            )
            return found

        def before_training(built: SpeechCtc, train: SpeechDataset, seed: int) -> None:
            if head_start is not None:
                head_start(built, train, seed)
            if optimiser.head_epochs:
                train_head(built, train, num_epochs=optimiser.head_epochs,
                           learning_rate=optimiser.head_learning_rate, seed=seed)  # fmt: skip

        size = data.vocabulary.size
        return cls(
            model.build(vocab_size=size),
            settings=settings or model.features(),
            arguments=model.arguments(vocab_size=size),
            lm_texts=data.lm_texts,
            lm=lm,
            groups=data.groups,
            tokenizer=data.tokenizer,
            head_start=before_training if head_start or optimiser.head_epochs else None,
            masks=model.masks,
            frozen_steps=optimiser.frozen_steps,
            vocabulary=data.vocabulary,
            normaliser=data.normaliser,
            learning_rate=optimiser.learning_rate,
            weight_decay=optimiser.weight_decay,
            schedule=optimiser.schedule,
            warmup_steps=optimiser.warmup_steps,
            tri_stage=optimiser.tri_stage(),
            parameter_groups=groups,
            bundle_info={"name": name, **data.info},
            **kwargs,
        )

    def on_before_batch_transfer(self, batch: CtcBatch, dataloader_idx: int) -> CtcBatch:
        """Check the labels and draw the masks while the batch lies on the CPU."""
        batch = super().on_before_batch_transfer(batch, dataloader_idx)
        if not (self.trainer.training and self._masks.is_on and isinstance(batch, SpeechBatch)):
            return batch
        num_steps = self.encoder.encoder.num_steps(batch.num_frames).tolist()
        masks = draw_masks(batch.seeds.tolist(), num_steps, width=self.encoder.encoder.width, config=self._masks)
        return replace(batch, masked_steps=masks.steps, masked_channels=masks.channels)

    def encode(self, batch: CtcBatch) -> Encoded:
        """Log-probabilities of a batch; in training with masks, and with the encoder frozen for a while."""
        if not self.training:
            return super().encode(batch)
        masks = None
        if isinstance(batch, SpeechBatch) and batch.masked_steps is not None and batch.masked_channels is not None:
            masks = StateMasks(batch.masked_steps, batch.masked_channels)
        frozen = self.trainer.global_step < self._frozen_steps
        encoded: Encoded = self.encoder(batch.inputs, batch.num_frames, masks=masks, frozen=frozen)
        return encoded

    def on_test_start(self) -> None:
        """Train the language model and choose its weight on the validation split."""
        self._outputs = {}
        settings = self._lm_settings
        if not (self._lm_texts and settings.order):
            return
        self._lm = train_lm(self._lm_texts, self.vocabulary, order=settings.order, unit=settings.unit,
                            tokenizer=self._tokenizer)  # fmt: skip
        held_out = self._held_out()
        if held_out:
            self._decoder = choose_decoder(list(held_out.values()), self._lm, self.vocabulary, settings)

    def test_step(self, batch: CtcBatch, batch_idx: int) -> None:
        """Count greedy errors and keep the outputs for the language model."""
        self._outputs |= self._scored(batch, self._count(batch))

    def on_test_epoch_end(self) -> None:
        """Log test/…"""
        super().on_test_epoch_end()
        outputs = list(self._outputs.values())
        said = [output.text for output in outputs]
        texts = [_greedy_text(output.log_probs, self.vocabulary) for output in outputs]
        self._log_figures(said, texts, "")
        if self._lm is not None and self._decoder is not None:
            started = time.perf_counter()
            texts = self._decoder.decode(outputs, self._lm, self.vocabulary)
            num_steps = sum(len(output.log_probs) for output in outputs)
            seconds = num_steps * self.encoder.stride_seconds
            self.log("test/decoding_factor", (time.perf_counter() - started) / max(seconds, 1e-9))
            self._log_figures(said, texts, "_lm")

    def export(self, folder: str | Path) -> None:
        """Write the bundle with its language model."""
        info = {"stride_seconds": self.encoder.stride_seconds, "sample_rate_hz": SAMPLE_RATE_HZ, **self.bundle_info}
        with tempfile.TemporaryDirectory() as temporary:
            files = {}
            if self._tokenizer is not None:
                files[TOKENIZER_FILE] = self._tokenizer.save(temporary)
            if self._lm is not None and self._decoder is not None:
                info["decoder"] = self._decoder._asdict()
                files[LM_FILE] = Path(temporary) / LM_FILE
                self._lm.write_arpa(files[LM_FILE])
            bundle.save(
                folder,
                kind=BUNDLE_KIND,
                model=self.encoder,
                config=self.bundle_config,
                vocabulary=self.vocabulary,
                normaliser=self.normaliser,
                info=info,
                files=files,
            )

    def _loss(self, batch: CtcBatch, encoded: Encoded) -> CtcLoss:
        # By token, not by clip: in a batch of single words and sentences a clip's loss says little but its length.
        return ctc_loss(encoded.log_probs, encoded.num_steps, batch.labels, batch.num_labels, ids=batch.ids,
                        reduction="mean_per_token")  # fmt: skip

    def _scored(self, batch: CtcBatch, encoded: Encoded) -> dict[str, Scored]:
        labels = [row[:size] for row, size in zip(batch.labels.tolist(), batch.num_labels.tolist(), strict=True)]
        probs = [row[:size].cpu() for row, size in zip(encoded.log_probs, encoded.num_steps.tolist(), strict=True)]
        return {
            name: Scored(log_probs, self.vocabulary.decode(ids))
            for name, log_probs, ids in zip(batch.ids, probs, labels, strict=True)
        }

    def _log_figures(self, said: list[str], texts: list[str], suffix: str) -> None:
        """Rates with intervals, and by group."""
        for name, unit in (("wer", "word"), ("cer", "char")):
            counts = metrics.count_each(said, texts, unit=unit)  # type: ignore[arg-type]
            interval = metrics.error_rate_interval(counts)
            key = f"test/{name}{suffix}"
            if suffix:
                self.log(key, sum(counts, metrics.EditCounts()).error_rate)
            self.log(f"{key}_low", interval.low)
            self.log(f"{key}_high", interval.high)
            for group in sorted({group for clip in self._outputs for group in self._groups.get(clip, ())}):
                members = [
                    count
                    for clip, count in zip(self._outputs, counts, strict=True)
                    if group in self._groups.get(clip, ())
                ]
                self.log(f"{key}_{group}", sum(members, metrics.EditCounts()).error_rate)


def _greedy_text(log_probs: Tensor, vocabulary: Vocabulary) -> str:
    return vocabulary.decode(greedy(log_probs[None], torch.tensor([len(log_probs)]))[0].tokens)
