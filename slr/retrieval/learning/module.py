"""Learning to find sign clips by text: contrastive training on groups of performances and captions, and its test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signwave.training.schedules import Schedule, learning_rate_factor
from slr.models.dual_encoder import DualEncoder, Embedded, join_embedded
from slr.retrieval.learning.batch import RetrievalBatch, pad_texts, positives
from slr.retrieval.learning.data import QueryText
from slr.retrieval.learning.gallery import GalleryPart, Measure, Searched, all_ranks, of_split, single_numbers
from slr.retrieval.learning.gathering import gather_plain, gather_texts, world_size
from slr.retrieval.learning.loss import RetrievalLoss, RetrievalLossConfig
from slr.retrieval.learning.protocol import Selection
from slr.retrieval.similarity import exact_scores
from slr.retrieval.texts import TextReader

_LENGTH_PARTS = 4
_TEXTS_AT_ONCE = 256


class TextVideoRetrieval(pl.LightningModule):
    """Two towers, the P-to-K loss on CiCo's fine-grained score, and on the pooled vectors that the index uses.

    A clip's group is "SPLIT/…" in validation and test, and each split is a gallery of its own. Figures of the
    validation are logged as `val/…`, those of every test split as `test/SPLIT/…`, and of the first also as `test/…`.

    Args:
        encoder: both towers.
        texts: reads captions and queries.
        measure: figures of a split.
        queries: texts to validate and test with.
        loss: what is minimised.
        learning_rate: peak of a schedule with linear warm-up and cosine decay.
        tower_learning_rate: of what starts from pretrained weights; None is the same.
        pretrained: parts of the encoder that do.
        warmup_steps: optimiser steps of the rise.
        weight_decay: of AdamW.
        export_to: writes the bundle into the folder it is given.
        paper_protocol: also search the test split at every validation, see slr.retrieval.learning.protocol.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        *,
        texts: TextReader,
        measure: Measure,
        queries: Sequence[QueryText] = (),
        loss: RetrievalLossConfig | None = None,
        learning_rate: float = 1e-3,
        tower_learning_rate: float | None = None,
        pretrained: Iterable[nn.Module] = (),
        warmup_steps: int = 50,
        weight_decay: float = 0.01,
        schedule: Schedule = "cosine",
        export_to: Callable[[Path], None] | None = None,
        paper_protocol: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.texts, self.measure, self.queries = texts, measure, tuple(queries)
        self.loss = RetrievalLoss(loss or RetrievalLossConfig())
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.tower_learning_rate = learning_rate if tower_learning_rate is None else tower_learning_rate
        self._pretrained = {id(p) for part in pretrained for p in part.parameters()}
        self.schedule: Schedule = schedule
        self.export_to = export_to
        self.selection = Selection(paper_protocol=paper_protocol)
        self._gallery: list[GalleryPart] = []
        self._figures: dict[str, dict[str, Any]] = {}

    def training_step(self, batch: RetrievalBatch, batch_idx: int) -> Tensor:
        """Loss of one batch, under DDP of the batches of all processes together."""
        config, loss = self.loss.config, self.loss
        clips = self._embed_by_length(batch)
        own_texts = self.encoder.embed_texts(batch.text_ids, batch.num_tokens)
        texts = gather_texts(own_texts)
        clip_groups, text_groups = gather_plain(batch.clip_groups), gather_plain(batch.text_groups)
        positive = positives(clip_groups, text_groups, gather_plain(batch.text_keys))
        fine_scale, pooled_scale = self.encoder.scales()
        total = clips.pooled.new_zeros(())
        if config.fine_weight > 0:
            fine = config.fine_weight * loss.fine(clips, texts, self._swapped(batch), positive, fine_scale)
            self.log("train/fine_loss", fine.detach(), batch_size=len(batch))
            total = total + fine
        if config.pooled_weight > 0 or config.within_weight > 0:
            pooled = config.pooled_weight * loss.pooled(clips.pooled, texts.pooled, positive, pooled_scale)
            for vectors, groups in ((clips.pooled, clip_groups), (own_texts.pooled, text_groups)):
                if config.within_weight > 0:
                    pooled = pooled + config.within_weight * loss.within(vectors, groups, pooled_scale)
            self.log("train/pooled_loss", pooled.detach(), batch_size=len(batch))
            total = total + pooled
        self.log("train/loss", total.detach(), batch_size=len(batch), prog_bar=True)
        # Each process differentiates its own rows of one loss, and DDP takes the average: see .gathering.
        return total * world_size()

    def _swapped(self, batch: RetrievalBatch) -> Embedded | None:
        """The captions of all processes with words swapped, if training swaps."""
        if batch.swapped_ids is None or batch.num_swapped is None:
            return None
        return gather_texts(self.encoder.embed_texts(batch.swapped_ids, batch.num_swapped))

    def _embed_by_length(self, batch: RetrievalBatch) -> Embedded:
        """Embeddings of the clips, which a batch holds in the order of their lengths.

        A contrastive batch must mix short and long clips; going through it in parts of similar length gives the same
        numbers without the work on padding.
        """
        parts = []
        for chosen in torch.arange(len(batch.sizes)).chunk(_LENGTH_PARTS):
            part = slice(int(chosen[0]), int(chosen[-1]) + 1)
            longest = batch.sizes[part.stop - 1]
            parts.append(self.encoder.embed_signs(batch.inputs[part, :longest], batch.num_frames[part]))
        return join_embedded(parts)

    def on_validation_epoch_start(self) -> None:
        """Forget the last round's clips."""
        self._gallery = []

    def validation_step(self, batch: RetrievalBatch, batch_idx: int) -> None:
        """Embed clips."""
        self._gallery.append(self._embedded(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation split, found over the clips of all ranks."""
        found = self._search(all_ranks(self._gallery), ("val",), within_training=True)
        if not found:
            return
        figures = single_numbers(found["val"])
        self._log("val", figures)
        test = single_numbers(self._search_test()["test"]) if self.selection.paper_protocol else None
        self.selection.update(self.global_step, figures, test)

    def on_test_epoch_start(self) -> None:
        """Forget the last round's clips."""
        self._gallery = []

    def test_step(self, batch: RetrievalBatch, batch_idx: int) -> None:
        """Embed clips."""
        self._gallery.append(self._embedded(batch))

    def on_test_epoch_end(self) -> None:
        """Log the main figures of every split; the rest is in `figures()`."""
        splits = [split for split in self._splits() if split != "val"]
        self._figures = self._search(self._gallery, splits)
        for place, (split, figures) in enumerate(self._figures.items()):
            self._log(f"test/{split}", single_numbers(figures))
            if place == 0:
                self._log("test", single_numbers(figures))

    def figures(self) -> dict[str, dict[str, Any]]:
        """Figures of the last test by split, as `measure` gives them; "selection" says what chose the weights."""
        selected = self.selection.to_dict()
        return self._figures | ({"selection": selected} if selected["validation"] else {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was selected so far."""
        checkpoint["selection"] = self.selection.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.selection.load_state_dict(checkpoint["selection"])

    def _search_test(self) -> dict[str, dict[str, Any]]:
        """Search the test split in the middle of training, for the figure that the field's papers print."""
        loader = self.trainer.datamodule.test_dataloader()  # type: ignore[attr-defined]
        parts = [self._embedded(batch.to(self.device)) for batch in loader]
        return self._search(parts, ("test",), within_training=True)

    def _embedded(self, batch: RetrievalBatch) -> GalleryPart:
        with torch.no_grad():
            embedded = self._embed_by_length(batch)
        return GalleryPart(Embedded(*(value.cpu() for value in embedded)), list(batch.groups), list(batch.ids))

    def _splits(self) -> list[str]:
        return list(dict.fromkeys(query.group.split("/", maxsplit=1)[0] for query in self.queries))

    def _search(
        self, parts: Sequence[GalleryPart], splits: Iterable[str], *, within_training: bool = False
    ) -> dict[str, dict[str, Any]]:
        found = {}
        for split in splits:
            clips = of_split(parts, split)
            # With evaluation cut short (--smoke) a query may have no clip.
            queries = [query for query in self.queries if query.group in set(clips.groups)]
            if queries:
                texts = self.embed_queries([query.text for query in queries])
                scores = self._scores(texts, clips.embedded)
                searched = Searched(scores, queries, clips.ids, clips.groups, within_training)
                found[split] = self.measure(searched)
        return found

    def _scores(self, texts: Embedded, clips: Embedded) -> NDArray[np.float32]:
        if self.loss.config.rank_by == "pooled":
            return np.asarray((texts.pooled.float().cpu() @ clips.pooled.T).numpy(), dtype=np.float32)
        return exact_scores(Embedded(*(value.cpu() for value in texts)), clips, **self.loss.score_options)

    def _log(self, prefix: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.log(f"{prefix}/{name}", value, batch_size=1)

    @torch.no_grad()
    def embed_queries(self, texts: Sequence[str]) -> Embedded:
        """Both levels of embeddings of texts as users type them."""
        parts = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            ids, lengths = pad_texts([self.texts.encode(text) for text in some])
            parts.append(self.encoder.embed_texts(ids.to(self.device), lengths.to(self.device)))
        return join_embedded(parts)

    def configure_optimizers(self) -> Any:
        """AdamW, linear warm-up, cosine decay; pretrained towers at a rate of their own."""
        learning = [p for p in self.encoder.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learning if id(p) not in self._pretrained], "lr": self.learning_rate},
            {"params": [p for p in learning if id(p) in self._pretrained], "lr": self.tower_learning_rate},
        ]
        optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=self.weight_decay, betas=(0.9, 0.98)
        )
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_factor(step, total, self.warmup_steps, self.schedule)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def export(self, folder: str | Path) -> None:
        """Write the model as a bundle for `slr index` and `slr search`."""
        if self.export_to is not None:
            self.export_to(Path(folder))
