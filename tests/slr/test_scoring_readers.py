"""Files of hypotheses and references: every layout gives the same clips, and a bad line is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.manifest import write as write_manifest
from signwave.transcript import Word
from slr.scoring import read_hypotheses, read_references, save_hypotheses
from slr.scoring.writers import Recognised

EXPECTED = {"a-1": ["REGEN", "NORD"], "-b": []}


def record(file: str, text: str, status: str = "ok") -> dict[str, str]:
    return {"file": file, "status": status, "text": text}


FILES = {
    "hyp.ctm": ";; made by a test\na-1 1 0.00 0.2 REGEN 0.9\na-1 1 0.20 0.2 NORD\n;; -b\n",
    "filled.ctm": "a-1 1 0.00 0.2 REGEN\na-1 1 0.20 0.2 NORD\n-b 1 0.000 0.030 [EMPTY]\n",
    "hyp.csv": "id,gloss\na-1,REGEN NORD\n-b,\n",
    "bar.txt": "a-1|REGEN NORD\n-b|\n",
    "tab.txt": "a-1\tREGEN NORD\n-b\t\n",
    "blank.txt": "a-1 REGEN  NORD\n\n-b\n",
    "bom.csv": "\ufeffid|gloss\na-1|REGEN NORD\n-b|\n",
    "hyp.jsonl": "\n".join(json.dumps(record(*r)) for r in (("x/a-1.mp4", "REGEN NORD"), ("-b.mp4", "", "empty"))),
    "hyp.json": json.dumps({"records": [record("a-1.mp4", "REGEN NORD"), record("-b.mp4", "", "empty")]}),
}


@pytest.mark.parametrize("name", FILES)
def test_every_layout_of_hypotheses_gives_the_same(name, tmp_path):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    found = read_hypotheses(tmp_path / name)
    assert {clip: hypothesis.tokens for clip, hypothesis in found.items()} == EXPECTED


def test_failed_transcripts_are_missing_and_not_empty(tmp_path):
    (tmp_path / "h.jsonl").write_text(
        json.dumps(record("a.mp4", "", "failed")) + "\n" + json.dumps(record("b.mp4", "X"))
    )
    assert list(read_hypotheses(tmp_path / "h.jsonl")) == ["b"]


def test_folder_of_transcripts(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(record(f"{name}.mp4", name.upper())))
    assert {k: v.tokens for k, v in read_hypotheses(tmp_path).items()} == {"a": ["A"], "b": ["B"]}
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no"):
        read_hypotheses(tmp_path / "none")


def test_run_folder_holds_what_was_saved(tmp_path):
    words = [Word("REGEN", 9.5, 10.0, 0.5), Word("NORD", 10.25, 11.0, 1.0)]
    rows = [Recognised("a-1", "REGEN  SUED", words, "Signer 1"), Recognised("-b", "", [])]
    ctm = save_hypotheses(tmp_path, rows, split="dev")
    assert ctm.read_text().splitlines()[0] == "a-1 1 0009.500 0.500 REGEN 0.5000"
    found = read_hypotheses(tmp_path, split="dev")
    assert {clip: hypothesis.tokens for clip, hypothesis in found.items()} == EXPECTED
    references = read_references(tmp_path / "hypotheses" / "dev.stm")
    assert {k: (r.tokens, r.person) for k, r in references.items()} == {
        "a-1": (["REGEN", "SUED"], "Signer_1"),
        "-b": ([], "unknown"),
    }
    with pytest.raises(UserError, match=r"hypotheses/test.ctm: no such file"):
        read_hypotheses(tmp_path)


def test_ctm_words_come_in_time_order_but_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "h.ctm").write_text("a 1 10.0 1 ZEHN\na 1 9.0 1 NEUN\n")
    hypothesis = read_hypotheses(tmp_path / "h.ctm")["a"]
    assert (hypothesis.tokens, hypothesis.in_time_order()) == (["ZEHN", "NEUN"], ["NEUN", "ZEHN"])
    assert hypothesis.ctm_lines("a") == ["a 1 10.0 1 ZEHN", "a 1 9.0 1 NEUN"]


def test_glosses_without_times_get_some_that_sort_as_text(tmp_path):
    (tmp_path / "h.txt").write_text("a " + " ".join(f"G{n}" for n in range(1200)))
    lines = read_hypotheses(tmp_path / "h.txt")["a"].ctm_lines("a")
    assert sorted(lines) == lines


REFERENCES = {
    "p14.corpus.csv": "id|folder|signer|annotation\na-1|a-1/1/*.png|S1|REGEN  NORD\n",
    "p14t.csv": "name|video|start|end|speaker|orth|translation\na-1|a/1/*.png|-1|-1|S1|REGEN NORD|regen, im norden\n",
    "csl.txt": "index|name|length|gloss|char\n0|a-1|9|REGEN NORD|x\n",
    "test.stm": ";; comment\na-1 1 S1 0.0 1.79769e+308 <o,f0> REGEN NORD\n",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_every_layout_of_references_gives_the_same(name, tmp_path):
    (tmp_path / name).write_text(REFERENCES[name], encoding="utf-8")
    reference = read_references(tmp_path / name)["a-1"]
    assert reference.tokens == ["REGEN", "NORD"]
    assert reference.person in ("S1", "")


def test_manifest_brings_person_group_and_media(tmp_path):
    clip = Clip(id="a-1", path="a.mp4", kind="video", text="REGEN NORD", person="S1", group="g", num_frames=50)
    write_manifest(tmp_path / "m.jsonl.gz", [clip])
    reference = read_references(tmp_path / "m.jsonl.gz")["a-1"]
    assert reference.tokens == ["REGEN", "NORD"]
    assert (reference.person, reference.group, reference.num_frames) == ("S1", "g", 50)
    assert reference.media_path == str(tmp_path / "a.mp4")
    assert read_hypotheses(tmp_path / "m.jsonl.gz")["a-1"].tokens == ["REGEN", "NORD"]


BAD = [
    ("h.ctm", "a 1 0.0 0.1 X\na 1 zero 0.1 X\n", r"h.ctm:2: no CTM line"),
    ("h.ctm", "a 1\n", r"h.ctm:1: no CTM line"),
    ("h.csv", "a|X\nb\n", r"h.csv:2: has no \| between"),
    ("h.txt", "a X\nb Y\na Z\n", r"h.txt:3: clip 'a' is there already"),
    ("h.csv", "a,b,c\nd,e,f\n", "no header that names them"),
    ("h.csv", "id,gloss\n,X\n", r"h.csv:2: has no id"),
    ("h.json", "{", r"h.json:1: not valid JSON"),
    ("h.json", '{"records": [{"file": "a"}]}', "is no transcript"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_hypotheses_are_named_with_their_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_hypotheses(tmp_path / name)


def test_bad_references_are_named(tmp_path: Path):
    (tmp_path / "r.stm").write_text("a 1 S1 0.0\n")
    with pytest.raises(UserError, match=r"r.stm:1: no STM line"):
        read_references(tmp_path / "r.stm")
    (tmp_path / "e.txt").write_text("\n")
    with pytest.raises(UserError, match="holds no clip"):
        read_references(tmp_path / "e.txt")
    (tmp_path / "l.txt").write_bytes(b"a X\nb \xff\n")
    with pytest.raises(UserError, match=r"l.txt:2: is no UTF-8 text"):
        read_references(tmp_path / "l.txt")
    with pytest.raises(UserError, match="is a folder"):
        read_references(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_references(tmp_path / "absent.stm")
