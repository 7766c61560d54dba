"""A head start: new layers learn on stored states of the donor before the donor itself is trained.

From a random head CTC spends its first epochs learning to emit blanks, and meanwhile bends the encoder for nothing. The
states of a frozen encoder are computed once, so a pass over them costs a hundredth of a pass of training.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.features import SAMPLE_RATE_HZ
from asr.models.speech_ctc import SpeechCtc
from asr.speech_dataset import SpeechDataset, SpeechItem
from signwave.ctc import ctc_loss
from signwave.errors import UserError
from signwave.sampling import BudgetBatchSampler

log = logging.getLogger(__name__)

_BATCH_ITEMS = 16
_BATCH_SECONDS = 60


class StoredClip(NamedTuple):
    """A clip as the encoder hears it.

    hidden: (T, D) float32, what `SpeechCtc.encode` gives.
    labels: (N,) int64.
    """

    hidden: Tensor
    labels: Tensor


def train_head(
    model: SpeechCtc,
    dataset: SpeechDataset,
    *,
    num_epochs: int,
    learning_rate: float,
    seed: int = 0,
    max_hours: float = 2.0,
) -> float:
    """Train what lies above the encoder.

    Args:
        model: changed in place; its encoder stays as it is.
        dataset: the training split; augmentation is left out.
        num_epochs: passes over the stored states.
        learning_rate: of Adam, constant.
        seed: of the order and of the choice where the split is longer than max_hours.
        max_hours: at most this much of the split, 0.07 GB an hour and 100 features of a state.

    Returns:
        Mean loss a token in the last pass, nats.
    """
    rng = np.random.default_rng(seed)
    device = next(model.parameters()).device
    stored = store_states(model, dataset, rng=rng, max_hours=max_hours)
    encoder = {id(parameter) for parameter in model.encoder.parameters()}
    new = [p for p in model.parameters() if id(p) not in encoder and p is not model.layer_weights]
    optimiser = torch.optim.Adam(new, lr=learning_rate)
    lengths = [len(item.hidden) for item in stored]
    sampler = BudgetBatchSampler(
        lengths, max_padded_length=_BATCH_ITEMS * max(lengths), seed=seed, max_items=_BATCH_ITEMS
    )
    model.train()
    mean = 0.0
    for _ in range(num_epochs):
        losses = []
        for draws in sampler:
            loss = _loss(model, [stored[draw.index] for draw in draws], device)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
        mean = float(np.mean(losses))
    log.info("head start: %d passes over %d clips, loss a token %.3f", num_epochs, len(stored), mean)
    return mean


def _chosen(dataset: SpeechDataset, rng: np.random.Generator, max_hours: float) -> list[int]:
    order = rng.permutation(len(dataset)).tolist()
    budget = max_hours * 3600 * SAMPLE_RATE_HZ
    ends = np.cumsum([dataset.num_samples[index] for index in order])
    return sorted(order[: max(1, int((ends <= budget).sum()))])


@torch.no_grad()
def store_states(
    model: SpeechCtc, dataset: SpeechDataset, *, rng: np.random.Generator, max_hours: float
) -> list[StoredClip]:
    """Run the encoder over a split, without augmentation; clips that can't be read are left out.

    Args:
        model: left in evaluation mode.
        dataset: the training split.
        rng: chooses clips where the split is longer than max_hours.
        max_hours: at most this much of the split.

    Raises:
        UserError: none of the clips can be read.
    """
    model.eval()
    device = next(model.parameters()).device
    chosen = _chosen(dataset, rng, max_hours)
    lengths = [dataset.num_samples[index] for index in chosen]
    budget = max(_BATCH_SECONDS * SAMPLE_RATE_HZ, *lengths)
    stored = []
    for draws in BudgetBatchSampler(lengths, max_padded_length=budget, shuffle=False):
        readable = (_readable(dataset, chosen[draw.index]) for draw in draws)
        items = [item for item in readable if item is not None]
        if not items:
            continue
        batch = dataset.collate(items).to(device)
        hidden, num_steps = model.encode(batch.inputs, batch.num_frames)
        for item, row, steps in zip(items, hidden.float(), num_steps.tolist(), strict=True):
            stored.append(StoredClip(row[:steps].clone(), item.labels))
    if not stored:
        raise UserError(f"none of {len(chosen)} training clips can be read; mend the data or prepare it anew")
    return stored


def _readable(dataset: SpeechDataset, index: int) -> SpeechItem | None:
    """A clip, or None where it can't be read: training will come to it, name it and count it."""
    try:
        return dataset.plain_item(index)
    except UserError as error:
        log.debug("head start: left out: %s", error)
        return None


def _loss(model: SpeechCtc, items: list[StoredClip], device: torch.device) -> Tensor:
    hidden = pad_sequence([item.hidden for item in items], batch_first=True)
    num_steps = torch.tensor([len(item.hidden) for item in items], device=device)
    labels = pad_sequence([item.labels for item in items], batch_first=True)
    num_labels = torch.tensor([len(item.labels) for item in items])
    encoded = model.classify(hidden, num_steps)
    return ctc_loss(encoded.log_probs, encoded.num_steps, labels, num_labels, reduction="mean_per_token").loss
