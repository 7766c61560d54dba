"""The recipe of isolated signs on two made-up languages: it learns, keeps its splits, resumes exactly, and is used.

One language comes as a table of segments cut at the true times, the other as an isolated corpus with splits of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from signwave import command, config, manifest
from signwave.errors import ConfigError
from signwave.manifest import Clip
from signwave.recipe import Recipe
from signwave.recipe import run as run_recipe
from signwave.training import checkpoints
from signwave.training.guards import Interrupted
from slr.commands import islr
from slr.crosslingual.map_stage import map_dictionaries
from slr.crosslingual.mapping import read_mapping
from slr.crosslingual.segments import BLANK_GLOSS, Segment, SegmentsHeader, write_segments
from slr.crosslingual.signs import load_signs
from slr.isolated.infer import IsolatedRecognizer
from slr.isolated.recipe import IsolatedRecipe

NUM_GLOSSES = 5
SETTINGS = [
    "model.dim=32", "model.group_dim=16", "model.num_heads=2", "train.num_threads=1", "train.progress_bar=false",
    "train.val_every_steps=50", "train.max_steps=100", "data.num_bags=8", "optimiser.warmup_steps=10",
    "optimiser.learning_rate=3e-3", "data.dev_share=0.2", "data.test_share=0.2",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Folders `table`, with segments.parquet, and `isolated`, with train, val and test by other people."""
    pytest.importorskip("pose_format")
    folder = tmp_path_factory.mktemp("corpora")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "tools"))
        _continuous(folder / "table", num_clips=30)
        _isolated(folder / "isolated")
    return folder


def _perform(path: Path, number: int, signer: int, seed: int) -> tuple[int, list[tuple[str, int, int]]]:
    """Write the poses of a made-up sentence; its length, and its glosses with their true frames."""
    from made_up_signers import language, motion, skeleton  # type: ignore[import-not-found]
    from made_up_signers.poses import write_pose  # type: ignore[import-not-found]
    from made_up_signers.signers import make_signers  # type: ignore[import-not-found]

    rng = np.random.default_rng([seed, number])
    signs, grammar = language.signs(NUM_GLOSSES), language.Grammar(NUM_GLOSSES)
    who = make_signers(5, seed=seed)[signer]
    moved = motion.perform([signs[i] for i in grammar.sentence(rng)], who, fps=25.0, rng=rng)
    write_pose(
        path,
        skeleton.pose(moved, who, width_px=64, height_px=80, fps=25.0, rng=rng),
        width_px=64,
        height_px=80,
        fps=25.0,
    )
    return len(moved.hands), [(span.gloss, span.start_frame, span.end_frame) for span in moved.spans]


def _continuous(folder: Path, num_clips: int) -> None:
    folder.mkdir()
    clips, rows = [], []
    for number in range(num_clips):
        path, name = folder / f"{number}.pose", f"c{number}"
        size, spans = _perform(path, number, number % 3, 0)
        clips.append(
            Clip(
                id=name, path=str(path), kind="pose", num_frames=size, rate_hz=25.0, language="first",
                text=" ".join(gloss for gloss, _, _ in spans),
            )
        )  # fmt: skip
        edge = 0
        for place, (gloss, start, end) in enumerate(spans):
            if start > edge + 4:
                rows.append(Segment("made", name, -1, BLANK_GLOSS, edge, start, 0.9, 0.9, False, 2, True))
            rows.append(Segment("made", name, place, gloss, start, end, 0.9, 0.9, False, 2, True))
            edge = end
    path = folder / "train.jsonl.gz"
    digest = manifest.write(path, clips)
    header = SegmentsHeader("made", "first", str(path), digest, "none", "0" * 64, 25.0, 4)
    write_segments(folder / "segments.parquet", header, rows)


def _isolated(folder: Path) -> None:
    """Every sign of a sentence is a clip; other people sign in each split."""
    folder.mkdir()
    for split, num_sentences, people in (("train", 18, (0, 1, 2)), ("val", 4, (3,)), ("test", 6, (4,))):
        clips = []
        for number in range(num_sentences):
            path, signer = folder / f"{split}{number}.pose", people[number % len(people)]
            _, spans = _perform(path, number, signer, 7)
            clips += [
                Clip(
                    id=f"{number}-{place}", path=str(path), kind="pose", start_seconds=start / 25, end_seconds=end / 25,
                    num_frames=end - start, rate_hz=25.0, text=f"{gloss}2", language="second", person=f"p{signer}",
                )
                for place, (gloss, start, end) in enumerate(spans)
            ]  # fmt: skip
        manifest.write(folder / f"{split}.jsonl.gz", clips)


@pytest.fixture(scope="module")
def recipe_class(repository: Path) -> type[IsolatedRecipe]:
    found: type[IsolatedRecipe] = runpy.run_path(str(repository / "recipes" / "slr" / "signers_islr.py"))["SignersIslr"]
    return found


def _recipe(cls: type[IsolatedRecipe], corpora: Path, repository: Path, out: Path, *settings: str) -> Recipe:
    made = config.load(
        cls,
        repository / "conf" / "slr" / "signers_islr.yaml",
        [
            *SETTINGS, f"data.languages.first={corpora / 'table' / 'segments.parquet'}",
            f"data.languages.second={corpora / 'isolated'}", f"runs_dir={out}", *settings,
        ],
    )  # fmt: skip
    made.name = made.name or "islr"
    return made


@pytest.fixture(scope="module")
def run(
    corpora: Path, recipe_class: type[IsolatedRecipe], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("runs")
    run_recipe(_recipe(recipe_class, corpora, repository, out))
    return out / "islr"


def test_it_learns_both_languages(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["num_bad_items"] == {}
    test = results["figures"]["test"]
    for language in ("first", "second"):
        one = test[language]
        assert one["top1"] > 0.5, f"chance is {1 / NUM_GLOSSES}"
        assert one["top1"] <= one["top5"]
        assert (one["num_unknown"], one["num_failed"]) == (0, 0)
        low, high = one["interval_95"]
        assert low <= one["top1"] <= high
    assert [test[name]["split"] for name in ("first", "second")] == ["split by clip of origin", "official split"]
    assert test["first"]["num_blanks"] > 0 == test["second"]["num_blanks"]
    mean = (test["first"]["top1"] + test["second"]["top1"]) / 2
    assert results["metrics"]["test/top1"] == pytest.approx(mean)
    assert results["metrics"]["train/frames_per_second"] > 0
    assert set(results["figures"]["temperatures"]) == {"first", "second"}


def test_the_bundle_leads_back_to_the_dictionaries(run: Path, corpora: Path) -> None:
    recognizer = IsolatedRecognizer.load(run, device="cpu")
    paths = {"first": corpora / "table" / "segments.parquet", "second": corpora / "isolated" / "train.jsonl.gz"}
    for name, path in paths.items():
        source = recognizer.sources[name]
        assert source["path"] == str(path)
        found = load_signs(source["path"], name=name)
        assert found.sha256 == source["sha256"]
        assert {sign.gloss for sign in found.signs} - {BLANK_GLOSS} == set(recognizer.glosses(name)[1:])
    assert load_signs(corpora / "isolated").sha256 == recognizer.sources["second"]["sha256"]


def test_the_command_repeats_the_figures_of_the_run(
    run: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("islr")(islr.islr)
    inputs = [str(corpora / "isolated" / f"{split}.jsonl.gz") for split in ("test", "train")]
    monkeypatch.setattr(sys, "argv", ["slr", "islr", *inputs, "--model", str(run), "--json", "--device", "cpu", "-q"])
    assert command.run(app) == command.EXIT_DONE
    document = json.loads(capsys.readouterr().out)
    told = json.loads((run / "results.json").read_text())["figures"]["test"]["second"]
    test, train = document["figures"]
    for name in ("num_signs", "num_classes", "top1", "top5", "class_top1", "class_top5"):
        assert test[name] == pytest.approx(told[name]), name
    assert test["nll"] == pytest.approx(told["nll"], abs=1e-3)
    assert train["top1"] >= test["top1"] - 0.1
    assert [note.split(":")[0] for note in document["notes"]] == [inputs[1]], "only the training split was trained on"


def _stopping(made: Recipe, signal_at: int) -> Recipe:
    """The recipe, which sends a signal to itself in the middle of a step."""
    build: Any = made.build

    def stopping_build() -> Any:
        data, module = build()
        training_step = module.training_step

        def step(batch: Any, batch_idx: int) -> Any:
            if module.trainer.fit_loop.epoch_loop.total_batch_idx == signal_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return training_step(batch, batch_idx)

        module.training_step = step
        return data, module

    made.build = stopping_build  # type: ignore[method-assign]
    return made


def test_resume_is_exact(corpora: Path, recipe_class: type[IsolatedRecipe], repository: Path, tmp_path: Path) -> None:
    settings = ("train.max_steps=10", "train.val_every_steps=4", "data.num_bags=2", "data.num_instances=2")

    def start(name: str, *, signal_at: int = -1, resume: bool = False) -> None:
        made = _recipe(recipe_class, corpora, repository, tmp_path, *settings, f"name={name}")
        run_recipe(_stopping(made, signal_at), resume=resume)

    def state(name: str) -> dict[str, Any]:
        path = checkpoints.latest_valid(tmp_path / name / "checkpoints")
        assert path is not None
        return checkpoints.load(path)

    start("whole")
    with pytest.raises(Interrupted):
        start("cut", signal_at=5)
    start("cut", resume=True)
    one, two = state("whole"), state("cut")
    assert one["global_step"] == two["global_step"] == 10
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    assert one["lr_schedulers"] == two["lr_schedulers"]
    figures = [json.loads((tmp_path / name / "results.json").read_text())["figures"] for name in ("whole", "cut")]
    assert figures[0] == figures[1]


def test_without_test_signs_the_temperatures_are_fitted_all_the_same(
    corpora: Path, recipe_class: type[IsolatedRecipe], repository: Path, tmp_path: Path
) -> None:
    made: Any = _recipe(recipe_class, corpora, repository, tmp_path, "train.max_steps=4", "data.test_share=0")
    made.data = dataclasses.replace(made.data, languages={"first": made.data.languages["first"]})
    results = run_recipe(made)
    assert "test" not in results["figures"]
    assert not [name for name in results["metrics"] if name.startswith("test/")]
    assert results["figures"]["dev"]["first"]["num_signs"] > 0
    assert results["figures"]["temperatures"]["first"] != 1.0


def test_weights_that_do_not_fit_are_refused(
    corpora: Path, recipe_class: type[IsolatedRecipe], repository: Path, tmp_path: Path, run: Path
) -> None:
    made = _recipe(recipe_class, corpora, repository, tmp_path, "weights_path=s3d.pth")
    with pytest.raises(ConfigError, match=r"weights_path=s3d\.pth: this model has no backbone to load"):
        made.build()
    made = _recipe(recipe_class, corpora, repository, tmp_path, f"initial_run={run}")
    with pytest.raises(ConfigError, match="of this model's shape; give a run with the same"):
        made.build()


@pytest.mark.parametrize(("auxiliary", "target"), [("isolated", "first"), ("table/segments.parquet", "second")])
def test_a_folder_is_mapped_and_mapped_to(
    auxiliary: str, target: str, run: Path, corpora: Path, tmp_path: Path
) -> None:
    """`slr map` finds the dictionary of either language by what the bundle says."""
    report = map_dictionaries(corpora / auxiliary, run, tmp_path / "map.tsv", device="cpu")
    header = read_mapping(tmp_path / "map.tsv").header
    assert header["target"] == target
    assert header["target_sha256"] == IsolatedRecognizer.load(run, device="cpu").sources[target]["sha256"]
    assert report.coverage.num_glosses == NUM_GLOSSES
    assert not report.problems
