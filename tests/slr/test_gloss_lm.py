"""Gloss language models: texts out of every kind of file, perplexity against its definition, the two commands."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path

import pytest

from signwave import command, manifest
from signwave.ctc import NgramLm
from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from slr import cli, gloss_lm

TRAIN = ["ICH HEUTE REGEN", "ICH MORGEN SONNE", "HEUTE REGEN", "MORGEN SONNE", "HEUTE SONNE", "ICH REGEN"]


@pytest.fixture
def train(tmp_path: Path) -> Path:
    clips = [Clip(id=str(i), path="x.mp4", kind="video", text=text) for i, text in enumerate([*TRAIN, ""])]
    manifest.write(tmp_path / "train.jsonl.gz", clips)
    return tmp_path / "train.jsonl.gz"


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["slr", *map(str, arguments)])
    return cli.main()


def test_sentences_of_every_kind_of_file(train: Path, tmp_path: Path) -> None:
    expected = [text.split() for text in TRAIN]
    assert list(gloss_lm.sentences(train)) == expected
    (tmp_path / "a.txt").write_text("\n".join([*TRAIN, "", "  "]) + "\n", encoding="utf-8-sig")
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write("\n".join(TRAIN))
    rows = [f"id{i}|folder/1/*.png|Signer01|{text}" for i, text in enumerate(TRAIN)]
    (tmp_path / "p.csv").write_text("\n".join(["id|folder|signer|annotation", *rows]))
    (tmp_path / "t.tsv").write_text("\n".join(["file\ttext", *(f"{i}\t{text}" for i, text in enumerate(TRAIN))]))
    for name in ("a.txt", "a.txt.gz", "p.csv", "t.tsv"):
        assert list(gloss_lm.sentences(tmp_path / name)) == expected, name


def test_perplexity_is_what_the_probabilities_say(train: Path) -> None:
    lm, counts = gloss_lm.train([train], order=2)
    assert counts["num_sentences"] == 6
    assert counts["num_tokens"] == 14
    assert counts["num_words"] == 5
    found = gloss_lm.perplexity(lm, [["ICH", "REGEN"], ["SCHNEE"]])
    known = [*lm.word_scores(["ICH", "REGEN"]), lm.word_scores(["SCHNEE"])[1]]
    assert found.perplexity == pytest.approx(math.exp(-sum(known) / 4))
    assert found.bits_per_token == pytest.approx(math.log2(found.perplexity))
    assert (found.num_sentences, found.num_tokens, found.num_unknown) == (2, 3, 1)
    everything = lm.score(["ICH", "REGEN"]) + lm.score(["SCHNEE"])
    assert found.perplexity_with_unknown == pytest.approx(math.exp(-everything / 5))
    uniform = NgramLm.train([["A"], ["B"]], order=1)
    assert gloss_lm.perplexity(uniform, [["A"]]).perplexity > 1


def test_a_model_of_more_words_before_predicts_seen_texts_better(train: Path) -> None:
    texts = [text.split() for text in TRAIN]
    values = [gloss_lm.perplexity(gloss_lm.train([train], order=order)[0], texts).perplexity for order in (1, 2)]
    assert values[1] < values[0]


def test_files_that_hold_no_texts(tmp_path: Path) -> None:
    for name, text in (("gone.jsonl", "no such file"), ("a.mp4", "not a file that texts are read from")):
        if name == "a.mp4":
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(ManifestError, match=text):
            list(gloss_lm.sentences(tmp_path / name))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match="no sentence with a gloss"):
        gloss_lm.train([tmp_path / "empty.txt"])
    with pytest.raises(UserError, match="no sentence with a gloss"):
        gloss_lm.perplexity(NgramLm.train([["A"]], order=1), [])
    (tmp_path / "odd.txt").write_text("A B\nA <s>\n")
    with pytest.raises(UserError, match=r"odd\.txt: sentence 2 holds '<s>'"):
        gloss_lm.train([tmp_path / "odd.txt"])
    (tmp_path / "bytes.txt").write_bytes(b"A \xff\xfe B\n")
    with pytest.raises(ManifestError, match=r"bytes\.txt: can't be read as text"):
        list(gloss_lm.sentences(tmp_path / "bytes.txt"))
    (tmp_path / "wide.csv").write_text("id,gloss\na,b,c,d\n")
    with pytest.raises(ManifestError, match=r"wide\.csv:2: 4 fields under 2 columns"):
        list(gloss_lm.sentences(tmp_path / "wide.csv"))


def test_train_then_score(train: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "deep" / "glosses.arpa.gz"
    (tmp_path / "dev.txt").write_text("ICH HEUTE SONNE\nSCHNEE\n")
    dev = tmp_path / "dev.txt"
    assert run_cli(monkeypatch, "lm", "train", train, out, "--order", "2", "--dev", dev) == command.EXIT_DONE
    told = capsys.readouterr().err
    assert "6 sentences, 14 glosses, 5 different" in told
    assert "perplexity" in told
    assert run_cli(monkeypatch, "lm", "score", out, dev, "--json") == command.EXIT_DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["order"], found["num_sentences"], found["num_unknown"]) == (2, 2, 1)
    lm, _ = gloss_lm.train([train], order=2)
    again = gloss_lm.perplexity(lm, gloss_lm.sentences(dev))
    assert found["perplexity"] == pytest.approx(again.perplexity, rel=1e-4)
    assert run_cli(monkeypatch, "lm", "score", out, dev, train) == command.EXIT_DONE
    assert "over 8 sentences, 18 glosses; 1 unknown (5.56%)" in capsys.readouterr().out
    assert run_cli(monkeypatch, "lm", "train", train, tmp_path / "b.arpa", "--json") == command.EXIT_DONE
    assert json.loads(capsys.readouterr().out)["order"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["train", "a.txt", "b.txt"], 2, "the last name is written, it must end in .arpa"),
        (["train", "o.arpa"], 2, "give texts, and then the file to write"),
        (["train", "gone.txt", "o.arpa"], 1, "gone.txt: no such file"),
        (["train", "a.txt", "o.arpa", "--order", "0"], 2, "--order"),
        (["train", "a.txt", "o.arpa", "--order", "99"], 2, "--order"),
        (["train", "a.txt", "o.arpa", "--order", "two"], 2, "--order"),
        (["train", "a.txt", "o.arpa", "--model", "gone"], 1, "gone: no such folder"),
        (["train", "a.txt", "o.arpa", "--model", "a.txt"], 1, "a.txt"),
        (["train", "a.txt", "o.arpa", "--dev", "gone.txt"], 1, "gone.txt: no such file"),
        (["train", "a.txt", "o.arpa", "--dev", "empty.txt"], 1, "no sentence with a gloss in it to score"),
        (["train", "a.txt", "a.txt/o.arpa"], 1, "a.txt"),
        (["score", "gone.arpa", "a.txt"], 1, "gone.arpa: no such language model"),
        (["score", "a.txt", "a.txt"], 1, "a.txt"),
        (["score", "good.arpa", "gone.txt"], 1, "gone.txt: no such file"),
        (["score", "good.arpa", "empty.txt"], 1, "no sentence"),
        (["score", "good.arpa"], 2, "TEXTS"),
    ],
)
def test_wrong_use_is_one_line(arguments, code, text, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("A B\n")
    Path("empty.txt").write_text("\n")
    NgramLm.train([["A"]], order=1).write_arpa("good.arpa")
    assert run_cli(monkeypatch, "lm", *arguments) == code
    shown = capsys.readouterr()
    assert text in " ".join(shown.err.split())
    assert shown.out == ""
    assert not Path("o.arpa").exists()


def test_real_annotations_are_predicted(shared_data: Path) -> None:
    folder = shared_data / "sign" / "phoenix2014T"
    lm, counts = gloss_lm.train([folder / "PHOENIX-2014-T.train.corpus.csv"], order=3)
    assert counts["num_sentences"] == 7096
    found = gloss_lm.perplexity(lm, gloss_lm.sentences(folder / "PHOENIX-2014-T.dev.corpus.csv"))
    assert found.num_sentences == 519
    assert found.perplexity < 100  # of 1085 glosses
