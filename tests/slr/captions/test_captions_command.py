"""`slr captions`: what is written and said, and the exit code when rows fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from signwave import manifest
from signwave.manifest import Clip
from slr.commands.captions import captions_app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(captions_app, [str(one) for one in arguments], standalone_mode=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    words = [f"w{number}" for number in range(60)]
    clips = [Clip(id=f"-{word}", path=f"{word}.pose", kind="pose", group=word, split="train") for word in words]
    (tmp_path / "data").mkdir()
    manifest.write(tmp_path / "data" / "train.jsonl.gz", clips)
    manifest.write(tmp_path / "data" / "test.jsonl.gz", [Clip(id="t", path="t.pose", kind="pose", group="t")])
    rows = [f"{word}\tThe {word} is here.\tHier ist X{word}." for word in [*words, "t"]]
    (tmp_path / "table.tsv").write_text("\n".join(["group\ten\tde", *rows]), encoding="utf-8")
    return tmp_path


def test_captions_are_put_in_and_varied(data: Path) -> None:
    done = run("add", data / "data", data / "data", "--table", data / "table.tsv", "--json")
    assert (done.return_value, done.exception) == (0, None)
    assert json.loads(done.stdout)["num_captions"] == 122
    options = ("--kinds", "keywords,question", "--languages", "en,de")
    done = run("variants", data / "data", data / "out", *options, "-q")
    assert (done.return_value, done.output) == (0, "")
    (clip,) = manifest.read(data / "out" / "test.jsonl.gz")
    assert clip.captions["en+keywords"] == "t"
    assert clip.captions["de+keywords"] == "Xt"
    assert set(clip.captions) == {"en", "de", "en+keywords", "de+keywords", "en+question", "de+question"}
    assert Path(clip.path).resolve() == data / "data" / "t.pose"


def test_some_rows_fail_or_all(data: Path) -> None:
    one = data / "data" / "test.jsonl.gz"
    done = run("add", one, data / "test.jsonl.gz", "--table", data / "table.tsv")
    assert done.return_value == 3
    assert "2 captions in 1 clips" in done.stderr
    assert "left out 60: unknown 60" in done.stderr
    assert f"{data / 'table.tsv'}:2: no clip has the group 'w0'" in done.stderr
    assert "and 40 more" in done.stderr
    (data / "none.tsv").write_text("group\ten\nt\t\n")
    done = run("add", one, data / "none.jsonl", "--table", data / "none.tsv", "--json")
    assert done.return_value == 1
    assert json.loads(done.stdout)["problem_counts"] == {"empty": 1}


def test_variants_learn_from_other_captions_and_name_clips_without(data: Path) -> None:
    run("add", data / "data", data / "with", "--table", data / "table.tsv")
    one = data / "with" / "test.jsonl.gz"
    (clip,) = manifest.read(one)
    manifest.write(one, [clip, Clip(id="-n", path="n.pose", kind="pose")])
    options = ("--kinds", "keywords", "--languages", "en")
    done = run("variants", one, data / "a.jsonl", *options, "--learn-from", data / "with" / "train.jsonl.gz")
    assert done.return_value == 3
    assert "clip '-n': has no caption in 'en' to vary" in done.stderr
    (data / "en.txt").write_text("t\nis\n")
    done = run("variants", one, data / "b.jsonl", *options, "--stop-words", data / "en.txt")
    assert next(manifest.read(data / "b.jsonl")).captions["en+keywords"] == "The here"
