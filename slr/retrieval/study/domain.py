"""Does a domain-aware sign encoder help retrieval? CiCo (CVPR 2023), §3.2 and table 5, from one corpus to another.

For each seed: an isolated recogniser of a source corpus is the domain-agnostic encoder; it spots signs in the target's
training split, goes on with them, and is then the domain-aware one. Retrieval trains on the features of either, and on
both mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signwave import command, manifest
from signwave.manifest import Clip
from slr.crosslingual.aligning import align_manifest
from slr.crosslingual.study.corpora import SPLITS, Prepared
from slr.features.building import build
from slr.features.window_encoders import ISOLATED, load_window_encoder
from slr.features.windows import SlidingWindows
from slr.isolated.infer import IsolatedRecognizer
from slr.retrieval.study.outcome import compared, outcome
from slr.spotting.stage import spot_manifests
from slr.spotting.suppression import Suppression
from slr.training.runs import Runner, Training

SOURCE, TARGET, STREAM = "source", "target", "signs"
WINDOWS = SlidingWindows(16, most=64)
AGNOSTIC = "agnostic"
LABELS = {AGNOSTIC: "domain-agnostic", "aware": "domain-aware", "fused": "both, mixed"}


@dataclass(frozen=True)
class DomainPlan:
    """What is compared.

    Attributes:
        source: folder of `slr prepare` with glosses.
        target: folder of `slr prepare` with captions.
        out: folder for stages, features and runs.
        recipes: folder of the recipes.
        first: recipe that recognises and aligns the source's signs.
        islr: recipe of the domain-agnostic encoder.
        domain: recipe of the domain-aware one.
        retrieval: recipe of retrieval.
        seeds: of encoders and retrieval together.
        language: of the captions.
        first_settings: of the source's recogniser, key=value.
        encoder_settings: of both encoders.
        settings: of retrieval.
        threshold: probability above which a sign is spotted.
        alpha: weight of the agnostic features in the mixture.
        num_jobs: trainings at the same time.
    """

    source: Path
    target: Path
    out: Path
    recipes: Path
    first: str = "signers_keypoints"
    islr: str = "signers_islr"
    domain: str = "signers_domain_islr"
    retrieval: str = "signers_retrieval"
    seeds: tuple[int, ...] = (0, 1, 2)
    language: str = "en"
    first_settings: tuple[str, ...] = ()
    encoder_settings: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    threshold: float = 0.6
    alpha: float = 0.8
    num_jobs: int = 1

    def recipe(self, name: str) -> Path:
        """Script of a recipe."""
        return self.recipes / f"{name}.py"


def run(plan: DomainPlan) -> dict[str, Any]:
    """Go through the stages; what is done isn't done again.

    Returns:
        Plain values: settings, what was spotted, conditions with the figures of each seed, and their differences to the
        domain-agnostic one.
    """
    source, target = Prepared.open(plan.source, SOURCE), Prepared.open(plan.target, TARGET)
    runner = Runner(plan.out, num_jobs=plan.num_jobs)
    plan.out.mkdir(parents=True, exist_ok=True)
    signs = _align(plan, source, runner)
    clips = {split: list(manifest.read(target.split(split))) for split in SPLITS}
    everything = [clip for split in SPLITS for clip in clips[split]]
    agnostic = {seed: _islr(plan, source, signs, seed) for seed in plan.seeds}
    _train(runner, list(agnostic.values()))
    spotted, aware = [], {}
    for seed, training in agnostic.items():
        table = plan.out / f"spots-{seed}.parquet"
        recognizer = IsolatedRecognizer.load(runner.path(training.name), device="cpu")
        spotted.append(
            spot_manifests(recognizer, [target.split("train")], table, corpus=TARGET, rules=Suppression(plan.threshold))
        )
        command.say(spotted[-1].summary())
        settings = (f"data.languages.{TARGET}={table}", f"initial_run={runner.path(training.name)}", f"seed={seed}")
        aware[seed] = Training(
            f"aware-{seed}", plan.recipe(plan.domain), (*settings, *plan.encoder_settings),
            {TARGET: target.sha256}, after=training,
        )  # fmt: skip
    _train(runner, list(aware.values()))
    for training in (*agnostic.values(), *aware.values()):
        _extract(plan, runner.path(training.name), everything)
    searches = {(name, seed): _retrieval(plan, target, name, seed) for seed in plan.seeds for name in LABELS}
    _train(runner, list(searches.values()))
    outcomes = {
        name: outcome(
            label, [(runner.path(f"{name}-search-{seed}"), _features(plan, name, seed)) for seed in plan.seeds],
            clips["test"],
        )
        for name, label in LABELS.items()
    }  # fmt: skip
    return {
        "settings": list(plan.settings), "seeds": list(plan.seeds), "split": "test", "alpha": plan.alpha,
        "spotted": [vars(one) for one in spotted], **compared(outcomes, AGNOSTIC, plan.language),
    }  # fmt: skip


def _train(runner: Runner, trainings: list[Training]) -> None:
    runner.run_all(trainings, tell=lambda one, done, of: command.say(f"[{done}/{of}] {one.name}"))


def _align(plan: DomainPlan, source: Prepared, runner: Runner) -> Path:
    """The signs of the source corpus, cut out by a recogniser of it."""
    settings = (f"data.manifest_dir={source.folder}", "seed=0", *plan.first_settings)
    first = Training("first", plan.recipe(plan.first), settings, {SOURCE: source.sha256})
    _train(runner, [first])
    table = plan.out / "source.parquet"
    align_manifest(runner.path(first.name), source.split("train"), table, corpus=SOURCE, language=SOURCE)
    return table


def _islr(plan: DomainPlan, source: Prepared, signs: Path, seed: int) -> Training:
    settings = (f"data.languages.{SOURCE}={signs}", f"seed={seed}", *plan.encoder_settings)
    return Training(f"{AGNOSTIC}-{seed}", plan.recipe(plan.islr), settings, {SOURCE: source.sha256})


def _extract(plan: DomainPlan, run_folder: Path, clips: list[Clip]) -> None:
    """Window features of every clip of the target."""
    encoder = load_window_encoder(f"{ISOLATED}{run_folder}", window_frames=WINDOWS.window_frames)
    built = build(clips, encoder, _cache(plan, run_folder.name), windows=WINDOWS)
    command.say(f"{run_folder.name}: features of {built.num_done} clips, {built.num_skipped} were there")


def _cache(plan: DomainPlan, name: str) -> Path:
    return plan.out / "features" / name


def _features(plan: DomainPlan, name: str, seed: int) -> list[str]:
    """What a condition reads, as `score_manifest` takes it."""
    caches = [_cache(plan, f"{one}-{seed}") for one in ((AGNOSTIC, "aware") if name == "fused" else (name,))]
    return [f"{STREAM}={','.join(map(str, caches))}"]


def _retrieval(plan: DomainPlan, target: Prepared, name: str, seed: int) -> Training:
    stream = f"data.streams.{STREAM}"
    kinds = (AGNOSTIC, "aware") if name == "fused" else (name,)
    caches = [f"{stream}.{setting}={_cache(plan, f'{kind}-{seed}')}" 
              for setting, kind in zip(("features_dir", "aware_dir"), kinds)]  # fmt: skip
    settings = (
        f"data.manifest_dir={target.folder}", f"data.languages=[{plan.language}]", *caches,
        f"{stream}.alpha={plan.alpha}", f"seed={seed}", *plan.settings,
    )  # fmt: skip
    return Training(f"{name}-search-{seed}", plan.recipe(plan.retrieval), settings, {TARGET: target.sha256})
