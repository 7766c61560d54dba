"""Does the fine-grained score with several languages pay? Conditions that differ in one thing, seeds, paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from signwave import command, manifest
from signwave.errors import UserError
from signwave.metrics import paired_means
from signwave.rundir import read_json
from slr.retrieval.evaluation.evaluate import evaluate
from slr.retrieval.evaluation.measured import DIRECTIONS, RetrievalResult
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
from slr.retrieval.evaluation.scoring import score_manifest
from slr.training.corpus import split_clips
from slr.training.runs import Runner, Training

OURS = "ours"
CONDITIONS: dict[str, tuple[str, ...]] = {
    "pooled": ("loss.fine_weight=0", "loss.rank_by=pooled"),
    "cico": (
        "data.languages=[{language}]", "data.performances=1", "loss.pooled_weight=0", "loss.legacy_unmasked=true",
    ),
    "cico_masked": ("data.languages=[{language}]", "data.performances=1", "loss.pooled_weight=0"),
    "one_language": ("data.languages=[{language}]",),
    "one_to_k": ("loss.normalisation=one_to_k",),
    "no_swap": ("data.swap_probability=0",),
    OURS: (),
}  # fmt: skip
"""Name → settings that differ from the recipe's; {language} is the one that CiCo translates into."""
LABELS = {
    "pooled": "one vector each, contrastive",
    "cico": "CiCo as released: one language, unmasked",
    "cico_masked": "CiCo, masked soft-max",
    "one_language": "ours in one language",
    "one_to_k": "ours, 1-to-K's released loss",
    "no_swap": "ours without word swap",
    OURS: "ours: P performances, K languages",
}


@dataclass(frozen=True)
class StudyPlan:
    """What is compared.

    Attributes:
        recipe: script of a retrieval recipe.
        data: folder with the manifests of the splits.
        features: "STREAM=FOLDER" as for `slr evaluate`.
        out: folder for the runs.
        conditions: names out of CONDITIONS.
        seeds: of the trainings.
        language: that the conditions with one language keep, and in which all are compared.
        settings: of every run, key=value.
        num_jobs: trainings at the same time.
        split: that is searched at the end.
    """

    recipe: Path
    data: Path
    features: tuple[str, ...]
    out: Path
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    seeds: tuple[int, ...] = (0, 1, 2)
    language: str = "en"
    settings: tuple[str, ...] = ()
    num_jobs: int = 1
    split: str = "test"

    def __post_init__(self) -> None:
        unknown = [name for name in self.conditions if name not in CONDITIONS]
        if unknown or OURS not in self.conditions:
            raise UserError(f"conditions must hold '{OURS}' and be among {', '.join(CONDITIONS)}; got {unknown}")


@dataclass(frozen=True)
class Outcome:
    """Evaluations of the runs of one condition, one a seed."""

    name: str
    results: Sequence[RetrievalResult]
    runs: Sequence[Mapping[str, Any]] = field(repr=False)

    def recall(self, language: str, direction: str, k: int = 1) -> list[float]:
        """Recall@k of each seed."""
        return [result.by_query[language].directions[direction].recall(k) for result in self.results]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "label": LABELS[self.name],
            "by_seed": [result.to_dict() for result in self.results],
            "seconds": [run["seconds"] for run in self.runs],
            "num_parameters": self.runs[0]["num_parameters"],
            "commit": [run["environment"].get("commit", "") for run in self.runs],
            "mean": {
                language: {
                    which: {f"recall_at_{k}": float(np.mean(self.recall(language, which, k))) for k in (1, 5, 10)}
                    for which in DIRECTIONS
                }
                for language in self.results[0].languages
            },
        }


def run(plan: StudyPlan) -> dict[str, Any]:
    """Train what isn't trained yet, search the test split with every run, and compare.

    Returns:
        Plain values: settings, conditions with the figures of each seed, and the paired tests against ours.
    """
    runner = Runner(plan.out, num_jobs=plan.num_jobs)
    runner.folder.mkdir(parents=True, exist_ok=True)
    wanted = {(name, seed): _training(plan, name, seed) for seed in plan.seeds for name in plan.conditions}
    runner.run_all(list(wanted.values()), tell=lambda one, done, of: command.say(f"[{done}/{of}] {one.name}"))
    outcomes = {name: _outcome(plan, runner, name, wanted) for name in plan.conditions}
    return {
        "settings": list(plan.settings),
        "seeds": list(plan.seeds),
        "language": plan.language,
        "split": plan.split,
        "conditions": {name: outcome.to_dict() for name, outcome in outcomes.items()},
        "against_ours": {
            name: _tests(outcomes[OURS], outcome, plan.language) for name, outcome in outcomes.items() if name != OURS
        },
    }


def _training(plan: StudyPlan, name: str, seed: int) -> Training:
    own = tuple(text.format(language=plan.language) for text in CONDITIONS[name])
    caches = tuple(f"data.streams.{text.replace('=', '.features_dir=', 1)}" for text in plan.features)
    settings = (f"data.manifest_dir={plan.data}", *caches, f"seed={seed}", *plan.settings, *own)
    files = sorted(path for path in plan.data.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))
    inputs = {path.name: manifest.file_hash(path) for path in files}
    return Training(f"{name}-{seed}", plan.recipe, settings, inputs)


def _outcome(plan: StudyPlan, runner: Runner, name: str, wanted: Mapping[tuple[str, int], Training]) -> Outcome:
    """Search with every run of a condition, in all languages, whatever it was trained on."""
    paths = [runner.path(wanted[name, seed].name) for seed in plan.seeds]
    clips = split_clips(plan.data, plan.split, setting="data")
    results = []
    for path in paths:
        matrix = score_manifest(path, clips, features=plan.features, device="cpu", quiet=True)
        results.append(evaluate(matrix, EvaluationOptions(num_resamples=1_000)))
    return Outcome(name, results, [read_json(path / "results.json") for path in paths])


def _tests(ours: Outcome, other: Outcome, language: str) -> dict[str, dict[str, Any]]:
    """Paired tests over queries of the hits averaged over seeds: positive differences mean that ours is better."""
    found = {}
    for which in DIRECTIONS:
        hits = [
            np.mean([result.by_query[language].directions[which].ranks.hits(1) for result in outcome.results], axis=0)
            for outcome in (ours, other)
        ]
        groups = ours.results[0].by_query[language].directions[which].groups
        bootstrap, permutation, _ = paired_means(*hits, groups=groups)
        found[which] = {
            "difference": bootstrap.difference,
            "interval_95": list(bootstrap.interval[:2]),
            "p_value": permutation.p_value,
        }
    return found
