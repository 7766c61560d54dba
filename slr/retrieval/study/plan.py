"""Does the fine-grained score with several languages pay? Conditions that differ in one thing, seeds, paired tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signwave import command, manifest
from signwave.errors import UserError
from slr.retrieval.study.outcome import compared, outcome
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
    "longer": ("train.max_steps=600",),
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
    "longer": "ours, 600 steps",
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


def run(plan: StudyPlan) -> dict[str, Any]:
    """Train what isn't trained yet, search the test split with every run, and compare.

    Returns:
        Plain values: settings, conditions with the figures of each seed, and paired tests against ours.
    """
    runner = Runner(plan.out, num_jobs=plan.num_jobs)
    runner.folder.mkdir(parents=True, exist_ok=True)
    wanted = {(name, seed): _training(plan, name, seed) for seed in plan.seeds for name in plan.conditions}
    runner.run_all(list(wanted.values()), tell=lambda one, done, of: command.say(f"[{done}/{of}] {one.name}"))
    clips = split_clips(plan.data, plan.split, setting="data")
    outcomes = {
        name: outcome(
            LABELS[name], [(runner.path(wanted[name, seed].name), plan.features) for seed in plan.seeds], clips
        )
        for name in plan.conditions
    }
    return {
        "settings": list(plan.settings),
        "seeds": list(plan.seeds),
        "split": plan.split,
        **compared(outcomes, OURS, plan.language),
    }


def _training(plan: StudyPlan, name: str, seed: int) -> Training:
    own = tuple(text.format(language=plan.language) for text in CONDITIONS[name])
    caches = tuple(f"data.streams.{text.replace('=', '.features_dir=', 1)}" for text in plan.features)
    settings = (f"data.manifest_dir={plan.data}", *caches, f"seed={seed}", *plan.settings, *own)
    files = sorted(path for path in plan.data.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))
    inputs = {path.name: manifest.file_hash(path) for path in files}
    return Training(f"{name}-{seed}", plan.recipe, settings, inputs)
