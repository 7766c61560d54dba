"""The retrieval study: conditions, paired tests over seeds, table and picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signwave.errors import UserError
from slr.retrieval.evaluation.evaluate import evaluate
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
from slr.retrieval.evaluation.score_matrix import ScoredClip, ScoredText, ScoreMatrix
from slr.retrieval.study.outcome import Outcome, compared, difference
from slr.retrieval.study.plan import CONDITIONS, LABELS, OURS, StudyPlan, _training
from slr.retrieval.study.report import picture, table

NUM = 30


def outcome(name: str, *, noise: float) -> Outcome:
    """Two seeds of a system that finds clips but for noise, in two languages."""
    texts = tuple(ScoredText(f"{key} {i}", key, f"g{i}") for key in ("en", "de") for i in range(NUM))
    clips = tuple(ScoredClip(f"c{i}", f"g{i}") for i in range(NUM))
    results = []
    for seed in range(2):
        rng = np.random.default_rng([seed, round(100 * noise)])
        scores = np.tile(np.eye(NUM), (2, 1)) + noise * rng.normal(size=(2 * NUM, NUM))
        matrix = ScoreMatrix(scores.astype(np.float32), texts, clips)
        results.append(evaluate(matrix, EvaluationOptions(num_resamples=0)))
    return Outcome(LABELS[name], results, [{"seconds": 1.0, "num_parameters": 5, "environment": {"commit": "c"}}] * 2)


def found() -> dict[str, object]:
    outcomes = {OURS: outcome(OURS, noise=0.2), "pooled": outcome("pooled", noise=0.8)}
    return {
        "seeds": [0, 1], "split": "test", **compared(outcomes, OURS, "en"),
    }  # fmt: skip


def test_the_better_system_is_found_better() -> None:
    tests = difference(outcome(OURS, noise=0.2), outcome("pooled", noise=0.8), "en")
    for test in tests.values():
        assert test["difference"] > 0
        assert test["interval_95"][0] > 0
        assert test["p_value"] < 0.05
    same = difference(outcome(OURS, noise=0.2), outcome(OURS, noise=0.2), "en")
    assert same["text_to_video"]["difference"] == 0


def test_table_and_picture(tmp_path: Path) -> None:
    text = table(found())
    assert f"| {LABELS['pooled']} |" in text
    assert "en T2V | en V2T | de T2V | de V2T" in text
    assert text.count("p = ") == 2
    picture(found(), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_is_the_recipe_with_the_settings_of_its_condition(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("")
    plan = StudyPlan(Path("r.py"), tmp_path, ("pose=feats",), tmp_path / "out", language="de", settings=("dim=8",))
    training = _training(plan, "cico", 3)
    assert training.name == "cico-3"
    assert "data.streams.pose.features_dir=feats" in training.settings
    assert {"seed=3", "dim=8", "data.languages=[de]", "loss.legacy_unmasked=true"} <= set(training.settings)
    assert set(training.inputs) == {"train.jsonl"}
    assert set(LABELS) == set(CONDITIONS)


def test_conditions_that_make_no_sense_are_named(tmp_path: Path) -> None:
    for wrong in (("pooled",), (OURS, "magic")):
        with pytest.raises(UserError, match="conditions must hold 'ours'"):
            StudyPlan(Path("r.py"), tmp_path, (), tmp_path, conditions=wrong)
