"""The CTC module: batches are checked, counts are exact, schedules and parameter groups, export and back."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from signwave import bundle
from signwave.batch import Encoded
from signwave.errors import ConfigError, LabelError
from signwave.metrics import wer
from signwave.text import BLANK_TOKEN, Normaliser, Vocabulary
from signwave.training.ctc_module import CtcBatch, CtcModule
from signwave.training.schedules import TriStage, learning_rate_factor

VOCABULARY = Vocabulary((BLANK_TOKEN, "A", "B", "C"))


class Spelled(nn.Module):
    """Says exactly what its inputs hold: inputs (B, T, V) are taken as scores."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(1, 1)

    def forward(self, inputs, num_frames):
        return Encoded((self.gain * inputs).log_softmax(-1), num_frames)


def batch_of(paths, labels, *, vocabulary=VOCABULARY):
    """Inputs whose greedy path is `paths`."""
    frames = [torch.eye(vocabulary.size)[torch.tensor(path)] * 9 for path in paths]
    return CtcBatch(
        inputs=nn.utils.rnn.pad_sequence(frames, batch_first=True),
        num_frames=torch.tensor([len(path) for path in paths]),
        labels=nn.utils.rnn.pad_sequence([torch.tensor(row) for row in labels], batch_first=True),
        num_labels=torch.tensor([len(row) for row in labels]),
        ids=tuple(f"clip{i}" for i in range(len(paths))),
    )


def trainer(folder, **options):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, default_root_dir=folder, **options,
    )  # fmt: skip


def loader(batches):
    return torch.utils.data.DataLoader(batches, batch_size=None)


@pytest.mark.parametrize("split", [(3,), (1, 2), (1, 1, 1)])
def test_rates_are_exact_however_the_items_are_split(tmp_path, split):
    paths = [[1, 0, 2, 2], [3, 3, 0, 1, 2], [0, 0, 1]]
    labels = [[1, 2], [3, 2], [1, 2, 3]]
    batches, start = [], 0
    for size in split:
        batches.append(batch_of(paths[start : start + size], labels[start : start + size]))
        start += size
    module = CtcModule(Spelled(), vocabulary=VOCABULARY)
    trainer(tmp_path).validate(module, loader(batches), verbose=False)
    figures = module.trainer.callback_metrics
    assert float(figures["val/wer"]) == pytest.approx(wer(["A B", "C B", "A B C"], ["A B", "C A B", "A"]))
    assert "val/cer" not in figures


def test_characters_have_both_rates(tmp_path):
    vocabulary = Vocabulary((BLANK_TOKEN, "a", "b", "|"), "char")
    batch = batch_of([[1, 2, 3, 1]], [[1, 2, 3, 2]], vocabulary=vocabulary)
    module = CtcModule(Spelled(), vocabulary=vocabulary)
    trainer(tmp_path).test(module, loader([batch]), verbose=False)
    assert float(module.trainer.callback_metrics["test/wer"]) == pytest.approx(1 / 2)
    assert float(module.trainer.callback_metrics["test/cer"]) == pytest.approx(1 / 4)


def test_a_bad_label_is_refused_by_name_before_it_reaches_the_device(tmp_path):
    batch = batch_of([[1, 2], [1, 1]], [[1], [9]])
    with pytest.raises(LabelError, match="clip1"):
        trainer(tmp_path, max_steps=1).fit(CtcModule(Spelled(), vocabulary=VOCABULARY), loader([batch]))


def test_an_infeasible_item_is_counted_not_learned(tmp_path):
    module = CtcModule(Spelled(), vocabulary=VOCABULARY)
    trainer(tmp_path, max_steps=1).fit(module, loader([batch_of([[1], [1, 2]], [[1, 1, 1], [1, 2]])]))
    assert float(module.trainer.callback_metrics["train/num_infeasible"]) == 1
    assert torch.isfinite(module.trainer.callback_metrics["train/loss"])


def test_batch_check_names_the_contradiction():
    good = batch_of([[1, 2, 3]], [[1]])
    good.check()
    with pytest.raises(ValueError, match=r"num_frames must lie in \[1, 3\], got \[4\]"):
        dataclasses.replace(good, num_frames=torch.tensor([4])).check()
    with pytest.raises(ValueError, match="1 items but 2 ids"):
        dataclasses.replace(good, ids=("a", "b")).check()
    with pytest.raises(ValueError, match="num_labels must be at most 1"):
        dataclasses.replace(good, num_labels=torch.tensor([2])).check()


def test_schedules():
    assert [learning_rate_factor(s, 10, 4, "constant") for s in (0, 3, 4, 9)] == [0.25, 1.0, 1.0, 1.0]
    assert [learning_rate_factor(s, 10, 0, "linear") for s in (0, 5, 10, 12)] == [1.0, 0.5, 0.0, 0.0]
    cosine = [learning_rate_factor(s, 8, 0, "cosine") for s in range(9)]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[4] == pytest.approx(0.5)


def test_parameter_groups_have_their_own_rate(tmp_path):
    module = CtcModule(
        Spelled(),
        vocabulary=VOCABULARY,
        learning_rate=0.1,
        schedule="constant",
        parameter_groups=lambda encoder: [
            {"params": [encoder.gain], "lr": 0.001},
            {"params": encoder.head.parameters()},
        ],
    )
    trainer(tmp_path, max_steps=1).fit(module, loader([batch_of([[1, 2]], [[1]])]))
    assert [group["lr"] for group in module.trainer.optimizers[0].param_groups] == [0.001, 0.1]


def test_export_and_back(tmp_path):
    module = CtcModule(
        Spelled(),
        vocabulary=VOCABULARY,
        normaliser=Normaliser("plain", ("lower",)),
        bundle_kind="test.spelled",
        bundle_config={"size": 4},
        bundle_info={"rate_hz": 25},
    )
    module.export(tmp_path / "bundle")
    loaded = bundle.load(tmp_path / "bundle")
    assert (loaded.kind, loaded.config, loaded.info) == ("test.spelled", {"size": 4}, {"stride": 1, "rate_hz": 25})
    assert (loaded.vocabulary, loaded.normaliser) == (VOCABULARY, Normaliser("plain", ("lower",)))
    again = Spelled()
    again.load_state_dict(loaded.state_dict())
    CtcModule(Spelled(), vocabulary=VOCABULARY).export(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_three_stages_follow_fairseq():
    """fairseq's tri_stage: lr = first + rise * step; peak; peak * exp(-decay * step), decay = -log(final) / steps."""
    total, stages = 1000, TriStage((0.1, 0.4, 0.5), initial_factor=0.01, final_factor=0.05)
    for step in range(0, 1200, 7):
        if step < 100:
            expected = 0.01 + (1 - 0.01) / 100 * step
        elif step < 500:
            expected = 1.0
        else:
            expected = max(0.05, math.exp(math.log(0.05) / 500 * (step - 500)))
        assert stages.factor(step, total) == pytest.approx(expected)
    assert learning_rate_factor(300, total, 99, "tri_stage") == 1.0
    assert TriStage((0.5, 0.5, 0.0)).factor(999, 1000) == 1.0
    assert TriStage((0.0, 0.5, 0.5)).factor(0, 1000) == 1.0


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.6, 0.1), (1.2, -0.1, -0.1)])
def test_stages_that_are_no_shares_are_refused(shares):
    with pytest.raises(ConfigError, match="three shares of the run that add up to 1"):
        TriStage(shares)
    with pytest.raises(ConfigError, match=r"must lie in \(0, 1\]"):
        TriStage(final_factor=0.0)


def test_stages_need_a_run_of_known_length(tmp_path):
    module = CtcModule(Spelled(), vocabulary=VOCABULARY, schedule="tri_stage")
    limitless = SimpleNamespace(estimated_stepping_batches=10**9)
    module._trainer = limitless
    with pytest.raises(ConfigError, match=r"schedule tri_stage.*set train\.max_steps or train\.max_epochs"):
        module.configure_optimizers()
