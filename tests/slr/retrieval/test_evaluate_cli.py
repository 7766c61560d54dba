"""`slr evaluate` on files of scores: what it prints, writes and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer

from signwave import command, manifest
from signwave.manifest import Clip
from slr.commands.evaluate import EXAMPLES, evaluate
from slr.retrieval.evaluation.score_matrix import ScoredClip, ScoredText, ScoreMatrix


def run(*arguments):
    app = typer.Typer(rich_markup_mode=None)
    app.command("evaluate", epilog=EXAMPLES)(evaluate)

    def call(*, standalone_mode):
        return app([str(a) for a in arguments], standalone_mode=standalone_mode)

    return command.run(call)


def scores_file(path, strength, seed=0):
    rng = np.random.default_rng(seed)
    groups = range(30)
    scores = rng.normal(size=(60, 30)) + strength * np.vstack([np.eye(30), np.eye(30)])
    texts = [ScoredText(f"{key} {g}", key, f"g{g}") for key in ("en", "de") for g in groups]
    clips = tuple(ScoredClip(f"-c{g}", f"g{g}", person="P1") for g in groups)
    bank = rng.normal(size=(50, 30)).astype(np.float32)
    ScoreMatrix(scores.astype(np.float32), tuple(texts), clips, bank_texts=bank).save(path)
    return path


@pytest.fixture
def scores(tmp_path):
    return scores_file(tmp_path / "ours.npz", 3)


@pytest.fixture
def training(tmp_path):
    clips = [Clip(id=str(n), path="a.pose", kind="pose", person="P1", captions={"en": f"en {n}"}) for n in range(3)]
    manifest.write(tmp_path / "train.jsonl", clips)
    return tmp_path / "train.jsonl"


def test_scores_of_any_system_are_measured(tmp_path, scores, training, capsys):
    files = {name: tmp_path / name for name in ("all.json", "ranks.png", "misses.html", "again.npz")}
    assert run("--scores", scores, "--bank", training, "--out", files["all.json"], "--picture", files["ranks.png"],
               "--errors", files["misses.html"], "--save-scores", files["again.npz"]) == 0  # fmt: skip
    shown, told = capsys.readouterr()
    assert "30 clips in 30 groups" in shown
    assert "QB-Norm" in shown
    assert "en T2V: 3 of 30 captions occur verbatim in training" in shown
    assert "in training too: 1 of 1 signers of the test clips" in shown
    assert "recordings" not in shown
    assert "ranks over 2 languages, T2V, 30 instances" in shown
    for path in files.values():
        assert f"{path}: written" in told
    document = json.loads(files["all.json"].read_text())
    assert document["overlap"]["captions"]["en"]["num_verbatim"] == 3
    assert files["ranks.png"].read_bytes().startswith(b"\x89PNG")
    assert ScoreMatrix.load(files["again.npz"]).clips[0].id == "-c0"


def test_json_is_one_document(scores, capsys):
    assert run("--scores", scores, "--json", "-q", "--mexa-size", "10", "--transductive") == 0
    shown, told = capsys.readouterr()
    document = json.loads(shown)
    assert told == ""
    assert document["by_query"]["en"]["mexa"]["size"] == 10
    assert set(document["by_query"]["de"]["normalised"]) == {
        "qb_norm", "csls", "transductive_csls", "transductive_dual_softmax",
    }  # fmt: skip


def test_two_systems_are_compared(tmp_path, scores, capsys):
    weak = scores_file(tmp_path / "theirs.npz", 0.5)
    assert run("--scores", scores, "--against", weak) == 0
    assert "en T2V: ours is better: ours minus theirs is +" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a model and at least one manifest, or --scores FILE.npz"),
        (("runs/model",), "give a model and at least one manifest"),
        (("--scores", "absent.npz"), "absent.npz: No such file"),
        (("--scores", "absent.npz", "--errors", "m.txt"), "--errors m.txt: must end in .tsv or .html"),
        (("model", "--scores", "absent.npz"), "leave 'model' out"),
        (("--scores", "absent.npz", "--bank", "absent.jsonl"), "absent.jsonl: no such manifest"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_has_an_example(capsys):
    assert run("--help") == 0
    assert "slr evaluate --scores cico.npz" in capsys.readouterr().out
