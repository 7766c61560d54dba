"""The retrieval study: conditions, paired tests over seeds, table and picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from signwave.errors import UserError
from slr.crosslingual.study.corpora import Prepared
from slr.retrieval.evaluation.evaluate import evaluate
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
from slr.retrieval.evaluation.score_matrix import ScoredClip, ScoredText, ScoreMatrix
from slr.retrieval.study import domain
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


def domain_plan(tmp_path: Path, **other: object) -> domain.DomainPlan:
    recipes = Path(__file__).resolve().parents[3] / "recipes" / "slr"
    return domain.DomainPlan(tmp_path / "source", tmp_path / "target", tmp_path / "out", recipes, **other)  # type: ignore[arg-type]


def test_the_domain_conditions_differ_in_their_features_alone(tmp_path: Path) -> None:
    plan, target = domain_plan(tmp_path, alpha=0.7), Prepared(tmp_path / "target", "target", "0" * 64)
    found = {name: domain._retrieval(plan, target, name, 4) for name in domain.LABELS}
    both = tuple(f"{tmp_path}/out/features/{kind}-4" for kind in ("agnostic", "aware"))
    caches = {name: [s for s in one.settings if "_dir=" in s and "streams" in s] for name, one in found.items()}
    assert caches["agnostic"] == [f"data.streams.signs.features_dir={both[0]}"]
    assert caches["aware"] == [f"data.streams.signs.features_dir={both[1]}"]
    assert caches["fused"] == [*caches["agnostic"], f"data.streams.signs.aware_dir={both[1]}"]
    others = [set(one.settings) - set(caches[name]) for name, one in found.items()]
    assert others[0] == others[1] == others[2]
    assert domain._features(plan, "fused", 4) == [f"signs={','.join(both)}"]
    assert "data.streams.signs.alpha=0.7" in others[0]


@pytest.mark.slow
def test_the_domain_study_goes_from_corpora_to_a_table(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[3]

    def run(*words: str) -> None:
        subprocess.run([sys.executable, *words], check=True, cwd=tmp_path)

    slr = ("-c", "import sys; from slr.cli import main; sys.exit(main())")
    sizes = {"glosses": "20,30", "train": "40,60", "dev": "8,12", "test": "8,12", "signers": "2"}
    numbers = [word for name, value in sizes.items() for word in (f"--num-{name}", value)]
    run(str(repository / "tools/make_sign_corpus.py"), "raw", "--languages=2", "--captions", "--poses-only", *numbers)
    corpora = [f"raw/language{number}/phoenix-2014-multisigner" for number in (1, 2)]
    for number, corpus in enumerate(corpora):
        run(*slr, "prepare", "poses", f"{corpus}/poses", f"data/{number}")
    run(*slr, "captions", "add", "data/1", "data/1", "--table", f"{corpora[1]}/annotations/captions.tsv")
    study = str(repository / "recipes/slr/domain_study.py")
    run(study, "data/0", "data/1", "--quick", "--seeds=0,1", "--out=res")
    found = json.loads((tmp_path / "res/domain_made_up.json").read_text())
    assert set(found["against_reference"]) == {"aware", "fused"}
    assert len(found["conditions"]["fused"]["by_seed"]) == len(found["spotted"]) == 2
    assert "| domain-aware |" in (tmp_path / "res/domain_made_up.md").read_text()
