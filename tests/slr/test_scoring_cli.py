"""`slr score`, `slr compare` and `slr audit` as commands: documents, exit codes, one-line errors, help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signwave import command
from signwave.options import new_app
from signwave.transcript import Word
from slr.commands import score as score_cli
from slr.scoring import save_hypotheses
from slr.scoring.writers import Recognised

TEXTS = {"a": "REGEN NORD", "b": "SONNE", "c": "WIND KALT WIND NORD SUED"}


def slr(*arguments: str | Path) -> int:
    app = new_app("slr", "Test.")
    app.command("score", epilog=score_cli.SCORE_EXAMPLES)(score_cli.score)
    app.command("compare", epilog=score_cli.COMPARE_EXAMPLES)(score_cli.compare)
    app.command("audit", epilog=score_cli.AUDIT_EXAMPLES)(score_cli.audit)
    return command.run(lambda standalone_mode: app([str(a) for a in arguments], standalone_mode=standalone_mode))


def run_folder(folder: Path, **changed: str) -> Path:
    """A run whose hypotheses are the references but for some clips."""
    rows = [
        Recognised(clip, text, [Word(g, n, n + 1, 1.0) for n, g in enumerate(changed.get(clip, text).split())], "S1")
        for clip, text in TEXTS.items()
    ]
    save_hypotheses(folder, rows, split="test")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "h.txt").write_text("a REGEN SUED\nb SONNE\n")
    (tmp_path / "r.txt").write_text("".join(f"{clip} {text}\n" for clip, text in TEXTS.items()))
    return tmp_path / "h.txt", tmp_path / "r.txt"


def test_score_prints_a_document(files, capsys):
    assert slr("score", *files, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["protocol"], document["wer"], document["num_reference_tokens"]) == ("plain", 6 / 8, 8)
    assert document["missing"] == ["c"]


def test_score_by_every_protocol_with_tables_page_and_alignments(files, tmp_path, capsys):
    out = tmp_path / "made"
    extra = ["--train", files[1], "--html", out / "p.html", "--alignments", out / "a.pra"]
    assert slr("score", *files, "-p", "all", "--json", *extra) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert list(document["protocols"]) == ["official-p14", "official-p14t", "slrt", "corrnet", "plain"]
    assert document["breakdown"]["per_seen"][0]["name"] == "in training"
    assert "p.html: written" in captured.err
    assert "Confusions" in (out / "p.html").read_text()
    assert "REF:  regen NORD" in (out / "a.pra").read_text()


def test_score_in_words_for_people(files, capsys):
    assert slr("score", *files, "--breakdown") == 0
    shown = capsys.readouterr().out
    assert "plain: WER 75.000%" in shown
    assert "Reference length, glosses" in shown


def test_a_run_folder_brings_its_references(tmp_path, capsys):
    assert slr("score", run_folder(tmp_path / "one", b="X"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 1 / 8
    assert slr("score", tmp_path / "one", "--split", "dev") == 1
    assert "brings no references" in capsys.readouterr().err


def test_compare_runs_and_files(tmp_path, files, capsys):
    one, two = run_folder(tmp_path / "one"), run_folder(tmp_path / "two", b="X", c="WIND")
    assert slr("compare", one, two, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["first"]["name"] == "one"
    assert document["difference"] == -5 / 8
    assert slr("compare", files[0], two / "hypotheses/test.ctm", "--ref", files[1], "-k", "1") == 0
    assert "+1 errors  a" in capsys.readouterr().out


def test_audit_fails_on_request_only(tmp_path, files, capsys):
    assert slr("audit", files[1], files[1], "--json") == 0
    assert json.loads(capsys.readouterr().out)["a_in_b"]["num_full"] == 1
    assert slr("audit", files[1], files[1], "--fail-above", "0.5") == 1
    assert "more than the 50.00% allowed" in capsys.readouterr().err
    assert slr("audit", files[1], files[1], "--drop", tmp_path / "x.jsonl") == 1
    assert "is no manifest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "absent.ctm", "absent.stm"), "absent.stm: no such file"),
        (("compare", "a.ctm", "b.ctm"), "a.ctm: no such file or run folder"),
        (("score", "runs/absent"), "runs/absent: no such file or run folder"),
        (("audit", "a.csv", "b.csv"), "a.csv: no such file"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert slr(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unknown_choices_are_named(files, capsys):
    for option in (("-p", "nist"), ("--cluster", "year")):
        assert slr("score", *files, *option) == 1
        assert "unknown; allowed are" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["score", "compare", "audit"])
def test_help_has_an_example(name, capsys):
    assert slr(name, "--help") == 0
    assert f"slr {name} " in capsys.readouterr().out
