"""The stages of a study before its trainings: recognisers, dictionaries, an isolated recogniser, mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from signwave import command
from slr.crosslingual.aligning import align_manifest
from slr.crosslingual.building import Rules
from slr.crosslingual.map_stage import map_dictionaries
from slr.crosslingual.study.corpora import Prepared
from slr.training.runs import Runner, Training

TARGET = "target"


def find_mappings(
    target: Prepared,
    others: Sequence[Prepared],
    out: Path,
    runner: Runner,
    *,
    recipe: Path,
    islr: Path,
    settings: Sequence[str],
    islr_settings: Sequence[str],
    first_steps: tuple[int, int],
    rules: Rules,
    truth: Path | None,
    tell: Callable[[Training, int, int], None],
) -> dict[str, dict[str, Any]]:
    """Go through the stages; OUT gets NAME.parquet, mapping_NAME.tsv and mapping_NAME.png of each language.

    Args:
        target: corpus of the target language.
        others: corpora of the auxiliary languages.
        out: folder for the files.
        runner: runs the trainings.
        recipe: of recognition.
        islr: of isolated recognition.
        settings: of the recognisers.
        islr_settings: of the isolated recogniser.
        first_steps: of the recognisers of the target and of the others.
        rules: when a pair is kept.
        truth: table of the signs that are truly alike.
        tell: hears of each training that is done.

    Returns:
        Auxiliary language → figures of its mapping.
    """
    command.say("stage 1: a recogniser of each corpus")
    corpora = (target, *others)
    firsts = [_first(corpus, recipe, settings, first_steps[corpus is not target]) for corpus in corpora]
    runner.run_all(firsts, tell=tell)
    command.say("stage 2: dictionaries by forced alignment")
    tables = {corpus.name: out / f"{corpus.name}.parquet" for corpus in corpora}
    for corpus, first in zip(corpora, firsts, strict=True):
        found = align_manifest(
            runner.path(first.name), corpus.split("train"), tables[corpus.name], corpus=corpus.name,
            language=corpus.name,
        )  # fmt: skip
        command.say(f"{corpus.name}: {found.num_segments} signs, mean posterior {found.mean_posterior:.2f}")
    command.say("stage 3: a recogniser of isolated signs")
    languages = tuple(f"data.languages.{name}={path}" for name, path in tables.items())
    hashes = {corpus.name: corpus.sha256 for corpus in corpora}
    runner.run_all([Training("isolated", islr, (*languages, *islr_settings, "seed=0"), hashes)], tell=tell)
    command.say("stage 4: the mapping")
    figures = {}
    for other in others:
        told = map_dictionaries(
            tables[other.name], runner.path("isolated"), out / f"mapping_{other.name}.tsv", target=TARGET,
            rules=rules, truth=truth, picture=out / f"mapping_{other.name}.png",
        )  # fmt: skip
        command.say(told.summary)
        figures[other.name] = told.coverage._asdict() | ({} if told.agreement is None else told.agreement.to_dict())
    return figures


def _first(corpus: Prepared, recipe: Path, settings: Sequence[str], steps: int) -> Training:
    return Training(
        f"first-{corpus.name}",
        recipe,
        (f"data.manifest_dir={corpus.folder}", "seed=0", *settings, f"train.max_steps={steps}"),
        {corpus.name: corpus.sha256},
    )


def pooled(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of all mappings together, and the rates over them."""
    names = [name for name in next(iter(figures.values())) if name.startswith("num_")]
    found: dict[str, Any] = {name: sum(one[name] for one in figures.values()) for name in names}
    found["token_coverage"] = found["num_mapped_tokens"] / max(1, found["num_tokens"])
    if "num_kept" in found:
        found["precision"] = found["num_right"] / max(1, found["num_kept"])
        found["recall"] = found["num_right"] / max(1, found["num_shared"])
    return found
