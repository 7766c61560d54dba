"""The health guard: a planted collapse is caught, blamed on its batch and recovered from."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import sys
from pathlib import Path

import pytest
import torch

from asr.pretraining.guard import HealthGuard
from asr.pretraining.health import GuardConfig, Health
from signwave.errors import ConfigError, UserError
from signwave.recipe import run

_SPEC = importlib.util.spec_from_file_location(
    "made_up_pretraining", Path(__file__).with_name("made_up_pretraining.py")
)
made_up = importlib.util.module_from_spec(_SPEC)
sys.modules["made_up_pretraining"] = made_up
_SPEC.loader.exec_module(made_up)


def planted(folder, *, at, max_rollbacks=3, max_steps=24):
    """A run whose quantiser takes one code for everything after some of its updates."""
    poisoned, rates, figures = [], {}, []

    class Poisoned(made_up.Pretraining):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            step = self.trainer.global_step
            rates[step] = self.trainer.optimizers[0].param_groups[0]["lr"]
            figures.append((step, self.health))
            if step in at:
                poisoned.append(batch.ids)
                with torch.no_grad():
                    projection = self.objective.quantizer.weight_proj
                    projection.weight.zero_()
                    projection.bias.view(2, -1)[:, 0] = 1000.0

    made = made_up.MadeUp(
        name="run", runs_dir=str(folder), train=made_up.small_training(max_steps=max_steps, val_every_steps=max_steps),
        guard=GuardConfig(min_code_perplexity=1.2, max_excluded_share=1.0, patience=3, snapshot_every_steps=2,
                          max_rollbacks=max_rollbacks),
    )  # fmt: skip
    made.module_class = lambda: Poisoned
    return made, poisoned, rates, figures


def test_a_planted_collapse_is_caught_and_recovered(tmp_path, caplog):
    made, poisoned, rates, figures = planted(tmp_path, at=[9])
    with caplog.at_level(logging.WARNING):
        results = run(made)
    by_step = dict(figures)
    assert by_step[10].code_perplexity == pytest.approx(2.0, abs=1e-3), "the signature of a collapse"
    assert by_step[10].accuracy == 1.0
    (report,) = results["figures"]["rollbacks"]
    assert (report["first_bad_step"], report["step"], report["blamed_step"]) == (10, 12, 9)
    assert report["blamed_ids"] == list(poisoned[0])
    assert report["rolled_back_to"] == 8
    assert json.loads((tmp_path / "run" / "health.jsonl").read_text()) == report
    assert "code perplexity 2.0 is below 2.4; back to step 8 with 0.5 of the learning rate" in caplog.text
    assert poisoned[0][0] in caplog.text
    assert all(by_step[step].code_perplexity > 2.4 for step in range(13, 25))
    assert rates[13] / rates[11] == pytest.approx(0.5 * (24 - 13) / (24 - 11), rel=1e-6)
    assert math.isfinite(results["metrics"]["val/loss"])
    assert made.module.rate_scale == 0.5


def test_a_run_that_collapses_again_and_again_ends_with_one_line(tmp_path):
    made, poisoned, _, _ = planted(tmp_path, at=[5, 10, 15], max_rollbacks=1)
    message = r"the codes collapsed 2 times, last at step 13 .* after step 10 with clips .*train-\d+.*; lower optimiser"
    with pytest.raises(UserError, match=message):
        run(made)
    assert len(poisoned) == 2
    lines = (tmp_path / "run" / "health.jsonl").read_text().splitlines()
    assert ["rolled_back_to" in json.loads(line) for line in lines] == [True, False]


def test_a_collapsed_model_is_never_the_best(tmp_path):
    made, _, _, _ = planted(tmp_path, at=[11], max_steps=12)
    made.train.val_every_steps = 6
    results = run(made)
    assert results["monitor"]["best"] == pytest.approx(results["metrics"]["val/loss"])
    assert results["monitor"]["best"] > 0.5
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("best-*.ckpt")] == ["best-000000006.ckpt"]


def health(**changes):
    values = {"num_masked": 100, "loss": 3.0, "accuracy": 0.5, "excluded_share": 0.05, "code_perplexity": 200.0,
              "prob_perplexity": 210.0, "num_groups": 2, "gradient_norm": 1.0}  # fmt: skip
    return Health(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"code_perplexity": 8.0, "accuracy": 0.99, "excluded_share": 0.2}, ""),
        ({"code_perplexity": 7.9}, "code perplexity 7.9 is below 8"),
        ({"accuracy": 0.995}, "accuracy 0.995 is above 0.99"),
        ({"excluded_share": 0.25}, "25% of the negatives have the true code, above 0.2"),
    ],
)
def test_thresholds(changes, problem):
    assert GuardConfig().problem(health(**changes)) == problem


def test_a_spike_of_the_gradient_is_blamed_before_the_last_update():
    guard = HealthGuard(GuardConfig(patience=5))
    for step, norm in enumerate([1.0, 1.2, 0.9, 1.1, 40.0, 1.0, 1.1], 1):
        guard._recent.append({"step": step, "ids": [f"clip-{step}"], "gradient_norm": norm})
    guard._first_bad_step = 7
    blamed = guard._blamed()
    assert blamed["ids"] == ["clip-5"]
    assert "38 times the usual one" in blamed["because"]


def test_best_rq_needs_no_guard(tmp_path):
    made = made_up.MadeUp(name="run", runs_dir=str(tmp_path))
    made.objective.kind, made.objective.num_codes = "best_rq", 64
    made.build()
    assert made.module.configure_callbacks() == []


@pytest.mark.parametrize("values", [{"patience": 0}, {"snapshot_every_steps": 0}, {"max_rollbacks": -1}])
def test_impossible_guards_are_refused(values):
    with pytest.raises(ConfigError, match="patience and snapshot_every_steps must be at least 1"):
        GuardConfig(**values)
