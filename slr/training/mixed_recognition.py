"""Training on a target corpus and auxiliary ones: batches of the others have labels, weights or heads of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave.ctc import ExtraTokens, ctc_loss
from signwave.ctc.labels import check_labels
from signwave.errors import ConfigError
from signwave.mixing import Ramp
from signwave.training.ctc_module import CtcBatch
from signwave.training.ranks import no_gradient
from slr.models.interface import Heads, Trunk
from slr.training.auxiliary import AuxiliaryCorpus
from slr.training.batch import SignBatch
from slr.training.losses import objective
from slr.training.recognition import SignRecognition

_DROPOUT = 0.1


class MixedRecognition(SignRecognition):
    """SignRecognition with auxiliary corpora.

    A corpus that was relabelled trains the model's own heads, its wildcards and mixtures as extra tokens. One with its
    own glosses trains what the heads read, through a linear head of its own on each stream; that head is not exported.
    Label priors are learnt from the target's batches and don't divide those of others.

    Args:
        model: as for SignRecognition; a `Trunk` where a corpus has its own glosses.
        auxiliary: the corpora.
        weight: of their loss, over the run.
        options: everything else goes to SignRecognition.

    Raises:
        ConfigError: a corpus has its own glosses, and the model lends no features.
    """

    def __init__(self, model: nn.Module, *, auxiliary: Sequence[AuxiliaryCorpus], weight: Ramp, **options: Any) -> None:
        super().__init__(model, parameter_groups=self._groups, **options)
        self.auxiliary = {corpus.name: corpus for corpus in auxiliary}
        self.weight = weight
        self.extras = nn.ModuleList(corpus.extra or nn.Identity() for corpus in auxiliary)
        self.native_heads = nn.ModuleList(self._native_head(corpus) for corpus in auxiliary)
        self._places = {corpus.name: place for place, corpus in enumerate(auxiliary)}

    def on_before_batch_transfer(self, batch: CtcBatch, dataloader_idx: int) -> CtcBatch:
        """Refuse bad labels by name; those of an auxiliary corpus may lie beyond the vocabulary."""
        if not isinstance(batch, SignBatch) or not batch.corpus:
            return super().on_before_batch_transfer(batch, dataloader_idx)
        size = self.auxiliary[batch.corpus].vocab_size
        check_labels(batch.labels, batch.num_labels, vocab_size=size, ids=batch.ids)
        return batch

    def training_step(self, batch: CtcBatch, batch_idx: int) -> Tensor:
        """The weighed loss of a batch of any corpus."""
        if not isinstance(batch, SignBatch) or not batch.corpus:
            return super().training_step(batch, batch_idx) + self._untouched(self.native_heads.parameters())
        corpus = self.auxiliary[batch.corpus]
        loss = self._native_loss(batch) if corpus.vocabulary is not None else self._relabelled_loss(batch)
        self.log(f"train/{batch.corpus}/loss", loss.detach(), batch_size=len(batch))
        progress = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        return self.weight.at(progress) * loss

    def _relabelled_loss(self, batch: SignBatch) -> Tensor:
        extra = cast(ExtraTokens, self.extras[self._places[batch.corpus]])
        heads: Heads = self.model.heads(batch.inputs, batch.num_frames, **self._streams(batch))
        found = objective(heads, batch, self.head_losses, entropy_weight=self.entropy_weight, ctc=extra.loss)
        return found.total + self._untouched(self.native_heads.parameters())

    def _native_loss(self, batch: SignBatch) -> Tensor:
        """Mean CTC loss over the streams' heads."""
        heads = cast(nn.ModuleDict, self.native_heads[self._places[batch.corpus]])
        found = cast(Trunk, self.model).step_features(batch.inputs, batch.num_frames, **self._streams(batch))
        losses = []
        for name, features in found.streams.items():
            log_probs = functional.log_softmax(heads[name](features).float(), dim=-1)
            result = ctc_loss(log_probs, found.num_steps, batch.labels, batch.num_labels, ids=batch.ids)
            losses.append(result.loss)
        return torch.stack(losses).mean() + self._untouched(self.parameters())

    def _native_head(self, corpus: AuxiliaryCorpus) -> nn.Module:
        if corpus.vocabulary is None:
            return nn.ModuleDict()
        if not hasattr(self.model, "feature_dims"):
            raise ConfigError(
                f"auxiliary.labels=native: {type(self.model).__name__} lends no features to other heads; take a "
                "keypoint, S3D or two-stream model, or relabel the corpus"
            )
        size, dims = corpus.vocabulary.size, cast(Trunk, self.model).feature_dims
        return nn.ModuleDict(
            {name: nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(dim, size)) for name, dim in dims.items()}
        )

    def _groups(self, encoder: nn.Module) -> list[dict[str, Any]]:
        parts = [encoder, self.native_heads]
        return [{"params": [p for part in parts for p in part.parameters() if p.requires_grad]}]

    def _untouched(self, parameters: Iterable[nn.Parameter]) -> Tensor | float:
        return 0.0 if self.trainer.world_size == 1 else no_gradient(parameters)
