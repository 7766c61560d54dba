"""Does an auxiliary corpus help? The stages from prepared corpora to mappings, the controls, and what came out.

    run(StudyPlan(target=Path("data/small"), auxiliary=(Path("data/large"),), out=Path("runs/study"), …))

A stage or a run that is done isn't done again, and one that was killed goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from signwave import command
from signwave.errors import UserError
from signwave.index.lock import exclusive
from signwave.rundir import read_json
from slr.crosslingual.map_scores import read_truth
from slr.crosslingual.mapping import Mapping, read_mapping, write_mapping
from slr.crosslingual.relabel_stage import read_relabelled, relabel_manifest
from slr.crosslingual.study.conditions import CONTROLS, LABELS, RELABELLED, Material, share, training
from slr.crosslingual.study.corpora import Prepared, join
from slr.crosslingual.study.report import contrast, summarise
from slr.crosslingual.study.stages import TARGET, find_mappings, pooled
from slr.crosslingual.study.tables import posterior_table, shuffled, truth_table
from slr.scoring import Evaluation, score
from slr.training.runs import Runner, Training


@dataclass(frozen=True)
class StudyPlan:
    """What to compare.

    Attributes:
        target: folder of `slr prepare` with the target corpus.
        auxiliary: such folders of the auxiliary corpora, each a language that is called as its folder is.
        out: folder for everything that is made.
        recipe: script of continuous recognition.
        islr: script of isolated recognition.
        conditions: names out of `LABELS`.
        seeds: of the trainings that are compared; the stages have the seed 0.
        target_steps: batches of the target corpus that every condition sees.
        auxiliary_steps: batches of the auxiliary corpora beside them.
        settings: of every recognition run, key=value.
        islr_settings: of the isolated recogniser.
        first_steps: of the recognisers whose alignments make the dictionaries, of the target and of the others.
        min_agreement: methods of `slr map` that must name the same target.
        max_gap: see `slr map`.
        truth: table of signs that are truly alike; for the condition "truth" and for the figures of the mapping.
        num_jobs: trainings at the same time.
        launcher: words before each training's command, e.g. a queue's.
    """

    target: Path
    auxiliary: tuple[Path, ...]
    out: Path
    recipe: Path
    islr: Path
    conditions: tuple[str, ...] = CONTROLS
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    target_steps: int = 300
    auxiliary_steps: int = 300
    settings: tuple[str, ...] = ()
    islr_settings: tuple[str, ...] = ()
    first_steps: tuple[int, int] = (300, 500)
    min_agreement: int = 3
    max_gap: float = 0.5
    truth: Path | None = None
    num_jobs: int = 1
    launcher: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.conditions if name not in LABELS]
        if unknown or not self.conditions:
            raise UserError(f"conditions: '{', '.join(unknown)}' is unknown; allowed are {', '.join(LABELS)}")
        names = [path.resolve().name for path in self.auxiliary]
        if not names or len({*names, TARGET}) <= len(names):
            raise UserError(
                f"auxiliary folders need different names, none of them '{TARGET}'; got {', '.join(names) or 'none'}"
            )
        if "truth" in self.conditions and self.truth is None:
            raise UserError("the condition 'truth' needs the table of signs that are truly alike; give truth")
        if not self.seeds or min(self.target_steps, self.auxiliary_steps, *self.first_steps, self.num_jobs) < 1:
            raise UserError("a study needs at least one seed, and steps and jobs of at least 1")
        share(self.target_steps, self.auxiliary_steps)
        missing = [path for path in (self.recipe, self.islr) if not path.is_file()]
        if missing:
            raise UserError(f"{missing[0]}: no such recipe; give the name of one beside this script, or a .py file")


def run(plan: StudyPlan) -> dict[str, Any]:
    """Make what isn't made yet, and compare.

    Returns:
        Plain values: plan, mapping, conditions (rates by seed), contrasts.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    with exclusive(plan.out):
        runner = Runner(plan.out / "runs", plan.launcher, plan.num_jobs)
        runner.folder.mkdir(exist_ok=True)
        target = Prepared.open(plan.target, TARGET)
        others = [Prepared.open(path) for path in plan.auxiliary]
        needs_mapping = any(name in RELABELLED for name in plan.conditions)
        mappings, figures = _mappings(plan, runner, target, others) if needs_mapping else ({}, None)
        material = Material(
            script=plan.recipe,
            target=target,
            auxiliary=join(others, plan.out / "joined"),
            others=tuple(others),
            target_steps=plan.target_steps,
            auxiliary_steps=plan.auxiliary_steps,
            settings=plan.settings,
            relabelled=partial(_relabelled, plan, target, others, mappings),
            run_path=runner.path,
        )
        wanted = {(name, seed): training(name, seed, material) for seed in plan.seeds for name in plan.conditions}
        runner.run_all(list(wanted.values()), tell=partial(_tell, runner))
        return _outcome(plan, runner, target, wanted, figures)


def _tell(runner: Runner, done: Training, number: int, num_all: int) -> None:
    rates = read_json(runner.path(done.name) / "results.json")["metrics"]
    figures = [f"{name} {rates[name]:.3f}" for name in ("val/wer", "test/wer_decoded") if name in rates]
    command.say(f"[{number}/{num_all}] {done.name}: {', '.join(figures) or 'done'}")


def _mappings(
    plan: StudyPlan, runner: Runner, target: Prepared, others: list[Prepared]
) -> tuple[dict[str, Mapping], dict[str, Any]]:
    """Auxiliary language → its mapping, and figures of them."""
    from slr.crosslingual.building import Rules

    found = find_mappings(
        target, others, plan.out, runner,
        recipe=plan.recipe, islr=plan.islr, settings=plan.settings, islr_settings=plan.islr_settings,
        first_steps=plan.first_steps, rules=Rules(min_agreement=plan.min_agreement, max_gap=plan.max_gap),
        truth=plan.truth, tell=partial(_tell, runner),
    )  # fmt: skip
    mappings = {one.name: read_mapping(plan.out / f"mapping_{one.name}.tsv") for one in others}
    return mappings, {"of_all": pooled(found), **found}


def _relabelled(
    plan: StudyPlan,
    target: Prepared,
    others: list[Prepared],
    mappings: dict[str, Mapping],
    condition: str,
    seed: int,
) -> dict[str, tuple[Path, str]]:
    """Auxiliary language → its sentences under a mapping, and their hash; chance is another for every seed."""
    known = target.glosses()
    name = f"random-{seed}" if condition == "random" else condition
    folders = {}
    for other in others:
        mapping = mappings[other.name]
        table = plan.out / f"mapping_{other.name}.tsv"
        if condition == "truth" and plan.truth is not None:
            right = truth_table(read_truth(plan.truth), like=mapping, known=known)
            table = _written(plan.out / f"mapping_{other.name}_truth.tsv", right)
        elif condition == "posteriors":
            table = _written(plan.out / f"mapping_{other.name}_posteriors.tsv", posterior_table(mapping))
        elif condition == "random":
            table = _written(
                plan.out / f"mapping_{other.name}_{name}.tsv", shuffled(mapping, seed=seed, known=known)
            )  # fmt: skip
        if not read_mapping(table).targets:
            command.say(f"{other.name}: nothing is mapped, '{condition}' goes without it")
            continue
        report = relabel_manifest(
            other.split("train"), table, plan.out / "relabelled" / name / other.name, settings=RELABELLED[condition],
            target=target.split("train"),
        )  # fmt: skip
        folders[other.name] = (Path(report.out), read_relabelled(report.out).sha256)
    if not folders:
        raise UserError(f"no sign of any auxiliary language is mapped; leave the condition '{condition}' out")
    return folders


def _written(path: Path, mapping: Mapping) -> Path:
    """Write a mapping unless the same lies there: its hash is what later stages are made from."""
    if not path.is_file() or read_mapping(path).targets != mapping.targets:
        write_mapping(path, mapping)
    return path


def _outcome(
    plan: StudyPlan,
    runner: Runner,
    target: Prepared,
    wanted: dict[tuple[str, int], Training],
    mapping: dict[str, Any] | None,
) -> dict[str, Any]:
    """Score every run on the test split with the protocol that its recipe shows first, and compare."""
    runs: dict[str, dict[int, Evaluation]] = {name: {} for name in plan.conditions}
    decoders: dict[str, Any] = {}
    for (name, seed), one in wanted.items():
        folder = runner.path(one.name)
        figures = read_json(folder / "results.json")["figures"]
        runs[name][seed] = score(folder, target.split("test"), protocol=next(iter(figures["test"])))
        decoders[one.name] = figures["decoder"]["chosen"]
    contrasts = [contrast(runs, *pair) for pair in _pairs(plan.conditions)]
    return {
        "plan": {name: _plain(value) for name, value in vars(plan).items() if name not in _OF_THE_MACHINE},
        "protocol": next(iter(runs[plan.conditions[0]].values())).protocol,
        "mapping": mapping,
        "conditions": summarise(runs),
        "contrasts": [one.to_dict() for one in contrasts],
        "decoders": decoders,
    }


def _pairs(conditions: tuple[str, ...]) -> list[tuple[str, str]]:
    """Every mapping that was found against every other condition; without one the first condition."""
    found = [name for name in conditions if name in RELABELLED and name not in ("random", "truth")]
    return [(first, name) for first in found or conditions[:1] for name in conditions if name != first]


_OF_THE_MACHINE = ("target", "auxiliary", "out", "truth", "launcher", "num_jobs")  # paths and queues say nothing


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.stem
    return list(value) if isinstance(value, tuple) else value
