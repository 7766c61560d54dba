"""Sign recognition with CTC: the shared module, helped by frame labels where they are known, tested group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from signwave import ctc, metrics
from signwave.metrics import EditCounts
from signwave.training.ctc_module import CtcBatch, CtcModule
from slr.models.pose_conv import PoseConv
from slr.training.batch import UNKNOWN_FRAME, SignBatch


class FrameRecognition(CtcModule):
    """CTC over keypoints.

    Where a batch knows what single frames show, a linear layer on the model's local part learns to tell them: CTC
    alone spends most of a short run finding out where the signs are. The layer is not part of the exported model.

    A test clip's id is "GROUP/…"; besides test/wer there is one test/wer_GROUP each, with its interval (_low, _high).

    Args:
        encoder: the model.
        frame_weight: weight of the frame loss beside the CTC loss (both per item and per frame); 0 leaves it out.
        baselines: name of a simpler system → its answer to each test id; scored beside the model's as NAME_wer_….
        averages: name → groups whose error rates are averaged, each group counting the same.
        options: everything else goes to CtcModule.
    """

    def __init__(
        self,
        encoder: PoseConv,
        *,
        frame_weight: float = 0.0,
        baselines: Mapping[str, Mapping[str, str]] | None = None,
        averages: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(encoder, parameter_groups=self._parameter_groups, **options)
        self.pose_encoder = encoder
        self.frame_weight = frame_weight
        self.frame_head = nn.Linear(encoder.dim, self.vocabulary.size) if frame_weight > 0 else None
        self.baselines = {name: dict(answers) for name, answers in (baselines or {}).items()}
        self.averages = {name: tuple(groups) for name, groups in (averages or {}).items()}
        self._answers: dict[str, tuple[str, str]] = {}

    def _parameter_groups(self, encoder: nn.Module) -> list[dict[str, Any]]:
        parts = [encoder] if self.frame_head is None else [encoder, self.frame_head]
        return [{"params": [p for part in parts for p in part.parameters() if p.requires_grad]}]

    def training_step(self, batch: CtcBatch, batch_idx: int) -> Tensor:
        """CTC loss of one batch, plus the frame loss where frames are labelled."""
        if self.frame_head is None or not isinstance(batch, SignBatch):
            return super().training_step(batch, batch_idx)
        hidden, num_steps = self.pose_encoder.look(batch.inputs, batch.num_frames)
        encoded = self.pose_encoder.classify(hidden, num_steps)
        result = ctc.ctc_loss(encoded.log_probs, encoded.num_steps, batch.labels, batch.num_labels, ids=batch.ids)
        targets = step_labels(batch.frame_labels, stride=self.pose_encoder.stride, num_steps=hidden.shape[1])
        frame_loss = _frame_loss(self.frame_head(hidden).float(), targets)
        self.log("train/loss", result.loss.detach(), batch_size=len(batch), prog_bar=True)
        self.log("train/frame_loss", frame_loss.detach(), batch_size=len(batch))
        self.log("train/num_infeasible", result.num_skipped.float(), batch_size=len(batch))
        return result.loss + self.frame_weight * frame_loss

    def on_test_epoch_start(self) -> None:
        """Forget the last round's answers."""
        super().on_test_epoch_start()
        self._answers = {}

    def test_step(self, batch: CtcBatch, batch_idx: int) -> None:
        """Count errors and keep each clip's answer."""
        encoded = self._count(batch)
        hypotheses = ctc.greedy(encoded.log_probs, encoded.num_steps)
        for name, labels, size, hypothesis in zip(
            batch.ids, batch.labels.tolist(), batch.num_labels.tolist(), hypotheses, strict=True
        ):
            self._answers[name] = (self.vocabulary.decode(labels[:size]), self.vocabulary.decode(hypothesis.tokens))

    def on_test_epoch_end(self) -> None:
        """Log test/… and for each group its rate and the ends of its interval."""
        super().on_test_epoch_end()
        for name, value in self.figures().items():
            self.log(f"test/{name}", value, batch_size=max(1, len(self._answers)))

    def figures(self) -> dict[str, float]:
        """Error rates of the last test, by group and average, with 95 % intervals; the baseline's beside them."""
        answers = {"wer": {name: answer for name, (_, answer) in self._answers.items()}}
        answers |= {f"{system}_wer": texts for system, texts in self.baselines.items()}
        found: dict[str, float] = {}
        for system, texts in answers.items():
            groups = self._counts_by_group(texts)
            for group, counts in groups.items():
                rate = sum(counts, start=EditCounts()).error_rate
                found |= _with_interval(f"{system}_{group}", rate, metrics.error_rate_interval(counts))
            for name, members in self.averages.items():
                if all(member in groups for member in members):
                    found |= _average(f"{system}_{name}", [groups[member] for member in members])
        return found

    def _counts_by_group(self, answers: Mapping[str, str]) -> dict[str, list[EditCounts]]:
        groups: dict[str, list[EditCounts]] = {}
        for name in sorted(self._answers):
            if name in answers:
                counts = metrics.count_edits(self._answers[name][0].split(), answers[name].split())
                groups.setdefault(name.split("/")[0], []).append(counts)
        return groups


def _with_interval(name: str, rate: float, interval: metrics.Interval) -> dict[str, float]:
    return {name: rate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _average(name: str, groups: Sequence[Sequence[EditCounts]]) -> dict[str, float]:
    """Mean of the groups' rates; for the interval clips are drawn from all groups, each group weighing the same."""
    rates = [sum(counts, start=EditCounts()).error_rate for counts in groups]
    # A group's errors per token of the group are put on one scale; the ratio of sums is then the mean of the rates.
    numerators, denominators = [], []
    for counts in groups:
        size = max(1, sum(count.num_reference for count in counts))
        numerators += [count.num_errors / size for count in counts]
        denominators += [count.num_reference / size for count in counts]
    interval = metrics.ratio_interval(numerators, denominators)
    return _with_interval(name, sum(rates) / len(rates), interval)


def step_labels(frame_labels: Tensor, *, stride: int, num_steps: int) -> Tensor:
    """The label of the frame in the middle of each step.

    Args:
        frame_labels: (B, T) int64, see SignBatch.
        stride: frames a step.
        num_steps: steps of the longest item.

    Returns:
        (B, num_steps) int64, -1 where unknown.
    """
    middles = torch.arange(num_steps, device=frame_labels.device) * stride
    return frame_labels[:, middles.clamp(max=frame_labels.shape[1] - 1)]


def _frame_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over labelled steps, 0 where there is none; both are (B, T'[, V])."""
    known = (targets != UNKNOWN_FRAME).sum().clamp(min=1)
    total = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=UNKNOWN_FRAME, reduction="sum"
    )
    return total / known
