"""Learning to find sign clips by text: contrastive training on groups of performances and captions, and its test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from signwave import bundle
from signwave.text import Normaliser, Vocabulary
from signwave.training.ctc_module import Schedule, learning_rate_factor
from slr.models.dual_encoder import DualEncoder, Embedded
from slr.retrieval.batch import RetrievalBatch, encode_query, pad_texts
from slr.retrieval.figures import QueryText, main_figures, retrieval_figures
from slr.retrieval.similarity import Normalisation, Scores, contrastive_loss, exact_scores, fine_grained, rows_loss

BUNDLE_KIND = "slr.dual_encoder"
_LENGTH_PARTS = 4
_MAX_LOG_SCALE = float(np.log(100.0))


class TextVideoRetrieval(pl.LightningModule):
    """Two towers, the P-to-K loss on CiCo's fine-grained score, and on the pooled vectors that the index uses.

    A test clip's group is "SPLIT/…" and its id "LANGUAGE/…"; each split is a gallery of its own. `test/SPLIT/…` are
    logged for every split, with the bounds of 95 % intervals, and for the first split also as `test/…`.

    Args:
        encoder: both towers.
        vocabulary: characters of the captions.
        normaliser: of captions and queries.
        queries: texts to test with.
        learning_rate: peak of a schedule with linear warm-up and cosine decay.
        warmup_steps: optimiser steps of the rise.
        weight_decay: of AdamW.
        normalisation: how several positives share the loss.
        dual_mix: CiCo's balance of directions.
        pooled_weight: weight of the loss on the pooled vectors.
        within_weight: weight of a loss that draws together the pooled vectors of a group on the same side: captions in
            several languages, performances in several alphabets.
        bundle_config: plain values from which the encoder is built again.
        bundle_info: facts for the user of the model.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        *,
        vocabulary: Vocabulary,
        normaliser: Normaliser,
        queries: Sequence[QueryText] = (),
        learning_rate: float = 1e-3,
        warmup_steps: int = 50,
        weight_decay: float = 0.01,
        normalisation: Normalisation = "per_positive",
        dual_mix: float = 0.5,
        pooled_weight: float = 1.0,
        within_weight: float = 0.0,
        schedule: Schedule = "cosine",
        bundle_config: dict[str, Any] | None = None,
        bundle_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.vocabulary, self.normaliser, self.queries = vocabulary, normaliser, tuple(queries)
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.schedule: Schedule = schedule
        self.normalisation: Normalisation = normalisation
        self.dual_mix, self.pooled_weight, self.within_weight = dual_mix, pooled_weight, within_weight
        self.bundle_config, self.bundle_info = dict(bundle_config or {}), dict(bundle_info or {})
        self._gallery: list[_Embeddings] = []
        self._figures: dict[str, dict[str, Any]] = {}

    def training_step(self, batch: RetrievalBatch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        texts = self.encoder.embed_texts(batch.text_ids, batch.num_characters)
        scale = self.encoder.log_scale.clamp(max=_MAX_LOG_SCALE).exp()
        order, scores, pooled_clips = self._score_by_length(batch, texts)
        positive = batch.positive[order]
        fine = contrastive_loss(
            scores.by_sign * scale,
            scores.by_word * scale,
            positive,
            dual_mix=self.dual_mix,
            normalisation=self.normalisation,
        )
        pooled = self._pooled_loss(pooled_clips, texts.pooled, batch.clip_groups[order], batch.text_groups)
        self.log("train/loss", fine.detach(), batch_size=len(batch), prog_bar=True)
        self.log("train/pooled_loss", pooled.detach(), batch_size=len(batch))
        return fine + pooled

    def _score_by_length(self, batch: RetrievalBatch, texts: Embedded) -> tuple[Tensor, Scores, Tensor]:
        """Order of the clips by length, their scores and their pooled vectors in that order.

        A contrastive batch must mix short and long clips; going through it in parts of similar length gives the same
        numbers without the work on padding.
        """
        order = batch.num_frames.argsort()
        parts, pooled = [], []
        for chosen in order.chunk(_LENGTH_PARTS):
            num_frames = batch.num_frames[chosen]
            clips = self.encoder.embed_signs(batch.inputs[chosen, : int(num_frames.max())], num_frames)
            parts.append(fine_grained(clips, texts))
            pooled.append(clips.pooled)
        by_sign, by_word = (torch.cat(halves) for halves in zip(*parts, strict=True))
        return order, Scores(by_sign, by_word), torch.cat(pooled)

    def _pooled_loss(self, clips: Tensor, texts: Tensor, clip_groups: Tensor, text_groups: Tensor) -> Tensor:
        scale = self.encoder.log_scale_pooled.clamp(max=_MAX_LOG_SCALE).exp()
        logits = clips @ texts.T * scale
        options: dict[str, Any] = {"dual_mix": self.dual_mix, "normalisation": self.normalisation}
        positive = clip_groups[:, None] == text_groups[None, :]
        loss = self.pooled_weight * contrastive_loss(logits, logits, positive, **options)
        for vectors, groups in ((clips, clip_groups), (texts, text_groups)):
            if self.within_weight > 0:
                loss = loss + self.within_weight * _within_loss(vectors, groups, scale, self.normalisation)
        return loss

    def on_test_epoch_start(self) -> None:
        """Forget the last round's clips."""
        self._gallery = []

    def test_step(self, batch: RetrievalBatch, batch_idx: int) -> None:
        """Embed clips."""
        embedded = self.encoder.embed_signs(batch.inputs, batch.num_frames)
        groups = [batch.groups[number] for number in batch.clip_groups.tolist()]
        self._gallery.append(_Embeddings(embedded, groups, [name.split("/")[0] for name in batch.ids]))

    def on_test_epoch_end(self) -> None:
        """Log the main figures of every split; the rest is in `figures()`."""
        self._figures = self._measure()
        for place, (split, figures) in enumerate(self._figures.items()):
            for name, value in main_figures(figures).items():
                self.log(f"test/{split}/{name}", value, batch_size=1)
                if place == 0:
                    self.log(f"test/{name}", value, batch_size=1)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Figures of the last test by split; see `retrieval_figures`."""
        return self._figures

    def _measure(self) -> dict[str, dict[str, Any]]:
        found = {}
        for split in dict.fromkeys(query.group.split("/")[0] for query in self.queries):
            clips = _gathered(self._gallery, split)
            # With evaluation cut short (--smoke) a query may have no clip.
            queries = [query for query in self.queries if query.group in set(clips.groups)]
            if queries:
                texts = self.embed_queries([query.text for query in queries])
                found[split] = retrieval_figures(
                    exact_scores(texts, clips.embedded), queries=queries, groups=clips.groups, languages=clips.languages
                )
        return found

    @torch.no_grad()
    def embed_queries(self, texts: Sequence[str]) -> Embedded:
        """Both levels of embeddings of texts as users type them."""
        ids, lengths = pad_texts([encode_query(self.normaliser(text), self.vocabulary) for text in texts])
        embedded: Embedded = self.encoder.embed_texts(ids.to(self.device), lengths.to(self.device))
        return embedded

    def configure_optimizers(self) -> Any:
        """AdamW, linear warm-up, cosine decay."""
        optimiser = torch.optim.AdamW(
            self.encoder.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, betas=(0.9, 0.98)
        )
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_factor(step, total, self.warmup_steps, self.schedule)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def export(self, folder: str | Path) -> None:
        """Write both towers as a bundle for `slr index` and `slr search`."""
        bundle.save(
            folder,
            kind=BUNDLE_KIND,
            model=self.encoder,
            config=self.bundle_config,
            vocabulary=self.vocabulary,
            normaliser=self.normaliser,
            info=self.bundle_info,
        )


def _within_loss(vectors: Tensor, groups: Tensor, scale: Tensor, normalisation: Normalisation) -> Tensor:
    """Cross-entropy of each vector against the others of its group on the same side; nothing matches itself."""
    itself = torch.eye(len(groups), dtype=torch.bool, device=vectors.device)
    positive = (groups[:, None] == groups[None, :]) & ~itself
    if not bool(positive.any()):
        return vectors.new_zeros(())
    # A large finite number: minus infinity times a zero of the positive mask would be NaN.
    return rows_loss((vectors @ vectors.T * scale).masked_fill(itself, -1e4), positive, normalisation)


class _Embeddings(NamedTuple):
    """Clips with their group and the language of their word."""

    embedded: Embedded
    groups: list[str]
    languages: list[str]


def _gathered(parts: Sequence[_Embeddings], split: str) -> _Embeddings:
    """The clips of a split, padded to one size."""
    size = max(part.embedded.tokens.shape[1] for part in parts)
    padded = [torch.nn.functional.pad(p.embedded.tokens, (0, 0, 0, size - p.embedded.tokens.shape[1])) for p in parts]
    groups = [group for part in parts for group in part.groups]
    languages = [language for part in parts for language in part.languages]
    kept = [row for row, group in enumerate(groups) if group.split("/")[0] == split]
    embedded = Embedded(
        torch.cat(padded)[kept],
        torch.cat([part.embedded.num_tokens for part in parts])[kept],
        torch.cat([part.embedded.pooled for part in parts])[kept],
    )
    return _Embeddings(embedded, [groups[row] for row in kept], [languages[row] for row in kept])
