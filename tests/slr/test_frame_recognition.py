"""The sign module: frame labels at steps, figures by group, and a few steps on made-up words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from signwave import metrics
from signwave.text import Vocabulary
from slr.models.pose_conv import PoseConvConfig
from slr.training.data import SignItem, collate
from slr.training.frame_recognition import FrameRecognition, step_labels

VOCABULARY = Vocabulary(("<blank>", "A", "B", "C"))


def module(*, frame_weight: float = 1.0, **options) -> FrameRecognition:
    encoder = PoseConvConfig(dim=16, dropout=0.0).build(vocab_size=VOCABULARY.size)
    return FrameRecognition(encoder, vocabulary=VOCABULARY, frame_weight=frame_weight, **options)


def items(*, labelled: bool = True) -> list[SignItem]:
    rng = np.random.default_rng(0)
    made = []
    for name, labels in (("seen/a", [1, 2]), ("x/b", [3]), ("y/c", [2, 2, 1])):
        hands = rng.normal(size=(16 * len(labels), 42, 3)).astype(np.float32)
        frames = np.repeat(np.asarray(labels, dtype=np.int64), 16)
        made.append(SignItem(name, hands, labels, frames if labelled else None))
    return made


def test_step_labels_are_those_of_the_frame_in_the_middle() -> None:
    frame_labels = torch.tensor([[1, 1, 1, 0, 2, 2, 2, 2, 2], [3, 3, -1, -1, -1, -1, -1, -1, -1]])
    found = step_labels(frame_labels, stride=4, num_steps=3)
    assert found.tolist() == [[1, 2, 2], [3, -1, -1]]
    brute = [[row[min(step * 4, 8)] for step in range(4)] for row in frame_labels.tolist()]
    assert step_labels(frame_labels, stride=4, num_steps=4).tolist() == brute


def test_the_frame_loss_learns_and_stays_out_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    trained = module()
    monkeypatch.setattr(trained, "log", lambda *args, **options: None)
    batch = collate(items())
    optimiser = torch.optim.Adam(trained._parameter_groups(trained.encoder)[0]["params"], lr=3e-3)
    losses = []
    for _ in range(40):
        loss = trained.training_step(batch, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert trained.frame_head is not None
    assert trained.frame_head.weight.grad is not None
    assert not any("frame_head" in name for name in trained.encoder.state_dict())


def test_unlabelled_frames_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    with_frames = module(frame_weight=5.0)
    monkeypatch.setattr(with_frames, "log", lambda *args, **options: None)
    batch = collate(items(labelled=False))
    plain = module(frame_weight=0.0)
    plain.encoder.load_state_dict(with_frames.encoder.state_dict())
    monkeypatch.setattr(plain, "log", lambda *args, **options: None)
    torch.testing.assert_close(with_frames.training_step(batch, 0), plain.training_step(batch, 0))


def test_figures_by_group_and_their_average() -> None:
    tested = module(baselines={"baseline": {"seen/a": "A A", "x/b": "C"}}, averages={"unseen": ("x", "y")})
    tested._answers = {
        "seen/a": ("A B", "A B"), "seen/b": ("A", "A B"), "x/b": ("C", "A"), "y/c": ("B B A", "B A"),
    }  # fmt: skip
    figures = tested.figures()
    assert figures["wer_seen"] == pytest.approx(metrics.wer(["A B", "A"], ["A B", "A B"]))
    assert figures["wer_x"] == 1.0
    assert figures["wer_y"] == pytest.approx(1 / 3)
    assert figures["wer_unseen"] == pytest.approx((1 + 1 / 3) / 2)
    assert figures["baseline_wer_seen"] == 0.5
    assert figures["baseline_wer_x"] == 0.0
    assert "baseline_wer_unseen" not in figures  # y has no baseline
    assert figures["wer_seen_low"] <= figures["wer_seen"] <= figures["wer_seen_high"]
