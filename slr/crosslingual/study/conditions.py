"""Conditions of a study: which trainings each needs, so that only what is asked about differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from signwave.errors import UserError
from slr.crosslingual.relabelling import Relabelling
from slr.crosslingual.study.corpora import Prepared
from slr.training.runs import Training

LABELS = {
    "target": "target only",
    "same_steps": "target only, as many steps as mixed",
    "random": "random mapping of equal coverage",
    "two_heads": "native labels, heads of their own",
    "finetune": "pretrained on auxiliary, then target",
    "mapped": "mapped",
    "posteriors": "mapped by posteriors alone (the paper's rule)",
    "truth": "true mapping",
    "signs": "mapped, each wildcard a sign",
    "deleted": "mapped, unmapped signs deleted",
    "soft": "mapped, three targets a sign",
}
CONTROLS = ("target", "same_steps", "random", "two_heads", "finetune", "mapped")
RELABELLED = {
    "random": Relabelling(),
    "mapped": Relabelling(),
    "posteriors": Relabelling(),
    "truth": Relabelling(),
    "signs": Relabelling(wildcard="sign"),
    "deleted": Relabelling(unmapped="delete"),
    "soft": Relabelling(top=3),
}
ANNEAL_FROM = 0.8
"""Share of a mixed run from which on auxiliary batches become fewer; at the end there is none."""


@dataclass(frozen=True)
class Material:
    """What the trainings of a study are made from.

    Attributes:
        script: recipe of continuous recognition.
        target: the target corpus.
        auxiliary: the auxiliary corpora as one.
        others: each of them.
        target_steps: batches of the target corpus that every condition sees.
        auxiliary_steps: batches of the auxiliary corpora that a mixed condition sees beside them.
        settings: of every recognition run, key=value.
        relabelled: condition, seed → language → folder of relabelled sentences, and its hash.
        run_path: name of a training → its folder.
    """

    script: Path
    target: Prepared
    auxiliary: Prepared
    others: tuple[Prepared, ...]
    target_steps: int
    auxiliary_steps: int
    settings: tuple[str, ...]
    relabelled: Callable[[str, int], Mapping[str, tuple[Path, str]]]
    run_path: Callable[[str], Path]

    @property
    def mixed_steps(self) -> int:
        """Steps of a condition that sees both corpora."""
        return self.target_steps + self.auxiliary_steps


def training(condition: str, seed: int, made_from: Material) -> Training:
    """The run that a condition is tested by, with those that it needs first.

    Every condition sees `target_steps` batches of the target corpus, but for "same_steps", which has as many batches as
    a mixed one has of both. Mixed ones, and "finetune" before it comes to the target, see `auxiliary_steps` batches of
    the auxiliary corpora.
    """
    if condition == "target":
        return _alone(condition, seed, made_from, steps=made_from.target_steps)
    if condition == "same_steps":
        return _alone(condition, seed, made_from, steps=made_from.mixed_steps)
    if condition == "finetune":
        return _finetuned(seed, made_from)
    if condition == "two_heads":
        own = {other.name: (other.folder, other.sha256) for other in made_from.others}
        return _mixed(condition, seed, made_from, own, native=True)
    return _mixed(condition, seed, made_from, made_from.relabelled(condition, seed), native=False)


def share(target_steps: int, auxiliary_steps: int) -> float:
    """The share of auxiliary batches before annealing, with which a run sees so many of each.

    Raises:
        UserError: the target would have too few batches for the shape of the schedule.
    """
    found = auxiliary_steps / (target_steps + auxiliary_steps) / (0.5 + ANNEAL_FROM / 2)
    if found > 1:
        raise UserError(
            f"{auxiliary_steps} auxiliary batches beside {target_steps} of the target can't be annealed to none; take "
            "fewer auxiliary or more target steps"
        )
    return found


def _alone(name: str, seed: int, made_from: Material, *, steps: int) -> Training:
    """Training on the target corpus."""
    settings = _common(made_from, made_from.target, seed, steps)
    return Training(f"{name}-{seed}", made_from.script, settings, {"target": made_from.target.sha256})


def _finetuned(seed: int, made_from: Material) -> Training:
    before = Training(
        f"pretrained-{seed}",
        made_from.script,
        _common(made_from, made_from.auxiliary, seed, made_from.auxiliary_steps),
        {"auxiliary": made_from.auxiliary.sha256},
    )
    settings = _common(made_from, made_from.target, seed, made_from.target_steps)
    return Training(
        f"finetune-{seed}",
        made_from.script,
        (*settings, f"initial_run={made_from.run_path(before.name)}"),
        {"target": made_from.target.sha256, "auxiliary": made_from.auxiliary.sha256},
        after=before,
    )


def _mixed(
    name: str, seed: int, made_from: Material, folders: Mapping[str, tuple[Path, str]], *, native: bool
) -> Training:
    """Training on all."""
    top = share(made_from.target_steps, made_from.auxiliary_steps)
    mixing = (
        *(f"auxiliary.corpora.{language}={folder}" for language, (folder, _) in folders.items()),
        f"auxiliary.share=[[0,{top:.6f}],[{ANNEAL_FROM},{top:.6f}],[1,0]]",
        *(("auxiliary.labels=native",) if native else ()),
    )
    return Training(
        f"{name}-{seed}",
        made_from.script,
        (*_common(made_from, made_from.target, seed, made_from.mixed_steps), *mixing),
        {"target": made_from.target.sha256} | {language: digest for language, (_, digest) in folders.items()},
    )


def _common(made_from: Material, corpus: Prepared, seed: int, steps: int) -> tuple[str, ...]:
    return (f"data.manifest_dir={corpus.folder}", f"seed={seed}", *made_from.settings, f"train.max_steps={steps}")
