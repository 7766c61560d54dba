"""Learning to find sign clips by text: contrastive training on groups of performances and captions, and its test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signwave.training.ctc_module import Schedule, learning_rate_factor
from slr.models.dual_encoder import DualEncoder, Embedded
from slr.retrieval.batch import RetrievalBatch, pad_texts, positives
from slr.retrieval.contrastive import pair_scores
from slr.retrieval.data import QueryText
from slr.retrieval.gathering import gather_plain, gather_rows, gather_texts, gather_vectors, world_size
from slr.retrieval.protocol import Selection
from slr.retrieval.similarity import (
    INNER_TEMPERATURE,
    RELEASED_LENGTHS,
    Normalisation,
    contrastive_loss,
    exact_scores,
    rows_loss,
)
from slr.retrieval.texts import TextReader

RankBy = Literal["fine", "pooled"]
_MAX_LOG_SCALE = float(np.log(100.0))
_LENGTH_PARTS = 4
_TEXTS_AT_ONCE = 256


@dataclass
class RetrievalLossConfig:
    """What training minimises. CiCo's released code is pooled_weight=0 and legacy_unmasked=true."""

    normalisation: str = "per_positive"
    """How several positives of a row share the loss: per_positive, one_to_k (as released for 1-to-K) or any_positive.
    With one positive each they are all CiCo's."""
    dual_mix: float = 0.5
    """CiCo's balance of the two directions of each half."""
    fine_weight: float = 1.0
    """Weight of the loss on the fine-grained score."""
    pooled_weight: float = 1.0
    """Weight of the loss on the pooled vectors, which stage 1 of the index uses."""
    within_weight: float = 0.0
    """Weight of a loss that draws together the pooled vectors of a group on the same side."""
    temperature: float = INNER_TEMPERATURE
    """Of the soft choice of a word for each sign and of a sign for each word."""
    legacy_unmasked: bool = False
    """Let padding take part in the soft choice, as CiCo's released code does; signs.max_tokens may then be 65 and
    texts.max_tokens 32 at most."""
    rank_by: str = "fine"
    """What ranking uses: fine, or pooled for a model without a fine-grained score."""

    def __post_init__(self) -> None:
        allowed = {"normalisation": ("per_positive", "one_to_k", "any_positive"), "rank_by": ("fine", "pooled")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"loss.{name}={getattr(self, name)}: allowed are {', '.join(values)}")
        if not self.temperature > 0 or min(self.fine_weight, self.pooled_weight, self.within_weight) < 0:
            raise ValueError("loss: temperature must be above 0 and no weight below 0")
        if self.fine_weight == self.pooled_weight == 0:
            raise ValueError("loss: fine_weight and pooled_weight are both 0, so there is nothing to learn")


class Searched(NamedTuple):
    """A gallery and the texts that are asked of it.

    scores: (Q, G) float32, higher is better.
    queries: Q texts.
    ids: (G,) clip ids.
    groups: (G,) group of each clip, "SPLIT/…".
    """

    scores: NDArray[np.float32]
    queries: Sequence[QueryText]
    ids: Sequence[str]
    groups: Sequence[str]


Measure = Callable[[Searched], dict[str, Any]]
"""Figures of one split; those at the top level that are numbers are logged."""


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
        paper_protocol: also search the test split at every validation, see slr.retrieval.protocol.
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
        self.loss = loss or RetrievalLossConfig()
        self.learning_rate, self.warmup_steps, self.weight_decay = learning_rate, warmup_steps, weight_decay
        self.tower_learning_rate = learning_rate if tower_learning_rate is None else tower_learning_rate
        self._pretrained = {id(p) for part in pretrained for p in part.parameters()}
        self.schedule: Schedule = schedule
        self.export_to = export_to
        self.selection = Selection(paper_protocol=paper_protocol)
        self._gallery: list[_Part] = []
        self._figures: dict[str, dict[str, Any]] = {}

    def training_step(self, batch: RetrievalBatch, batch_idx: int) -> Tensor:
        """Loss of one batch, under DDP of the batches of all processes together."""
        clips = self._embed_by_length(batch)
        own_texts = self.encoder.embed_texts(batch.text_ids, batch.num_tokens)
        texts = gather_texts(own_texts)
        clip_groups, text_groups = gather_plain(batch.clip_groups), gather_plain(batch.text_groups)
        positive = positives(clip_groups, text_groups, gather_plain(batch.text_keys))
        loss = clips.pooled.new_zeros(())
        if self.loss.fine_weight > 0:
            fine = self._fine_loss(clips, texts, batch, positive)
            self.log("train/fine_loss", fine.detach(), batch_size=len(batch))
            loss = loss + fine
        if self.loss.pooled_weight > 0 or self.loss.within_weight > 0:
            pooled = self._pooled_loss(clips.pooled, texts.pooled, positive)
            for vectors, groups in ((clips.pooled, clip_groups), (own_texts.pooled, text_groups)):
                if self.loss.within_weight > 0:
                    pooled = pooled + self.loss.within_weight * self._within_loss(vectors, groups)
            self.log("train/pooled_loss", pooled.detach(), batch_size=len(batch))
            loss = loss + pooled
        self.log("train/loss", loss.detach(), batch_size=len(batch), prog_bar=True)
        # Each process differentiates its own rows of one loss, and DDP takes the average: see slr.retrieval.gathering.
        return loss * world_size()

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

    def _fine_loss(self, clips: Embedded, texts: Embedded, batch: RetrievalBatch, positive: Tensor) -> Tensor:
        """The loss on the fine-grained score; its word half sees captions with words swapped, if there are any."""
        options: dict[str, Any] = {"temperature": self.loss.temperature, "legacy_unmasked": self.loss.legacy_unmasked}
        options["pad_to"] = RELEASED_LENGTHS if self.loss.legacy_unmasked else None
        swapped = None
        if batch.swapped_ids is not None and batch.num_swapped is not None:
            swapped = gather_texts(self.encoder.embed_texts(batch.swapped_ids, batch.num_swapped))
        scores = pair_scores(clips, texts, swapped=swapped, **options)
        scale = self.encoder.log_scale.clamp(max=_MAX_LOG_SCALE).exp()
        halves = gather_rows(scores.by_sign * scale, scores.by_word * scale)
        return self.loss.fine_weight * self._contrast(halves[0], halves[1], positive)

    def _pooled_loss(self, clips: Tensor, texts: Tensor, positive: Tensor) -> Tensor:
        scale = self.encoder.log_scale_pooled.clamp(max=_MAX_LOG_SCALE).exp()
        (logits,) = gather_rows(clips @ texts.T * scale)
        return self.loss.pooled_weight * self._contrast(logits, logits, positive)

    def _within_loss(self, vectors: Tensor, groups: Tensor) -> Tensor:
        """Cross-entropy of each vector against the others of its group on the same side; nothing matches itself."""
        scale = self.encoder.log_scale_pooled.clamp(max=_MAX_LOG_SCALE).exp()
        (logits,) = gather_rows(vectors @ gather_vectors(vectors).T * scale)
        itself = torch.eye(len(groups), dtype=torch.bool, device=vectors.device)
        positive = (groups[:, None] == groups[None, :]) & ~itself
        # A large finite number: minus infinity times a zero of the positive mask would be NaN.
        return rows_loss(logits.masked_fill(itself, -1e4), positive, self._normalisation)

    def _contrast(self, by_sign: Tensor, by_word: Tensor, positive: Tensor) -> Tensor:
        return contrastive_loss(
            by_sign, by_word, positive, dual_mix=self.loss.dual_mix, normalisation=self._normalisation
        )

    @property
    def _normalisation(self) -> Normalisation:
        return self.loss.normalisation  # type: ignore[return-value]  # checked by the config

    def on_validation_epoch_start(self) -> None:
        """Forget the last round's clips."""
        self._gallery = []

    def validation_step(self, batch: RetrievalBatch, batch_idx: int) -> None:
        """Embed clips."""
        self._gallery.append(self._embedded(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation split, found over the clips of all ranks."""
        found = self._search(_all_ranks(self._gallery), ("val",))
        if not found:
            return
        figures = main_figures(found["val"])
        self._log("val", figures)
        test = main_figures(self._search_test()["test"]) if self.selection.paper_protocol else None
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
            self._log(f"test/{split}", main_figures(figures))
            if place == 0:
                self._log("test", main_figures(figures))

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
        return self._search([self._embedded(batch.to(self.device)) for batch in loader], ("test",))

    def _embedded(self, batch: RetrievalBatch) -> _Part:
        with torch.no_grad():
            embedded = self._embed_by_length(batch)
        return _Part(Embedded(*(value.cpu() for value in embedded)), list(batch.groups), list(batch.ids))

    def _splits(self) -> list[str]:
        return list(dict.fromkeys(query.group.split("/", maxsplit=1)[0] for query in self.queries))

    def _search(self, parts: Sequence[_Part], splits: Iterable[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for split in splits:
            clips = _of_split(parts, split)
            # With evaluation cut short (--smoke) a query may have no clip.
            queries = [query for query in self.queries if query.group in set(clips.groups)]
            if queries:
                texts = self.embed_queries([query.text for query in queries])
                scores = self._scores(texts, clips.embedded)
                found[split] = self.measure(Searched(scores, queries, clips.ids, clips.groups))
        return found

    def _scores(self, texts: Embedded, clips: Embedded) -> NDArray[np.float32]:
        if self.loss.rank_by == "pooled":
            return np.asarray((texts.pooled.float().cpu() @ clips.pooled.T).numpy(), dtype=np.float32)
        return exact_scores(
            Embedded(*(value.cpu() for value in texts)),
            clips,
            temperature=self.loss.temperature,
            legacy_unmasked_softmax=self.loss.legacy_unmasked,
            pad_to=RELEASED_LENGTHS if self.loss.legacy_unmasked else None,
        )

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


def main_figures(figures: dict[str, Any]) -> dict[str, float]:
    """The figures at the top level that are single numbers: those worth a line in a log."""
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def join_embedded(parts: Sequence[Embedded]) -> Embedded:
    """Several parts as one, padded to the longest."""
    size = max(part.tokens.shape[1] for part in parts)
    padded = [nn.functional.pad(part.tokens, (0, 0, 0, size - part.tokens.shape[1])) for part in parts]
    num_tokens, pooled = torch.cat([p.num_tokens for p in parts]), torch.cat([p.pooled for p in parts])
    return Embedded(torch.cat(padded), num_tokens, pooled)


class _Part(NamedTuple):
    """Embedded clips of one batch, on the CPU."""

    embedded: Embedded
    groups: list[str]
    ids: list[str]


def _all_ranks(parts: list[_Part]) -> list[_Part]:
    """The parts of all processes, each clip once: a sampler gives some clips to two ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return parts
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, parts)
    return [part for some in gathered for part in some]


def _of_split(parts: Sequence[_Part], split: str) -> _Part:
    """The clips of a split as one part, each once."""
    if not parts:
        return _Part(Embedded(torch.zeros(0, 1, 1), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1)), [], [])
    joined = join_embedded([part.embedded for part in parts])
    names = [(group, name) for part in parts for group, name in zip(part.groups, part.ids, strict=True)]
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    kept = [row for row, (group, name) in enumerate(names)
            if group.split("/", maxsplit=1)[0] == split and first[group, name] == row]  # fmt: skip
    return _Part(
        Embedded(*(value[kept] for value in joined)), [names[row][0] for row in kept], [names[row][1] for row in kept]
    )
