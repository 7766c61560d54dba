"""Which files a command means, where their results go, what is done already and what a killed run left."""

import hashlib
import io
import json
import sys
from pathlib import Path

import pytest

from signwave import inputs
from signwave.errors import UserError
from signwave.inputs import Input

SOUNDS = {"suffixes": frozenset({".wav", ".mp3", ".flac"}), "noun": "audio file"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("x/a.wav", "x/a.mp3", "x/b.flac", "x/.hidden/c.wav", "x/.d.wav", "y/a.wav", "empty/readme.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folders_are_searched_and_names_told_apart(tree: Path) -> None:
    found = inputs.find_inputs([str(tree / "x"), "-", str(tree / "x")], **SOUNDS)
    assert [str(item.output) for item in found] == ["a.mp3", "a.wav", "b", "stdin"]
    assert [item.name for item in found] == [*(str(tree / "x" / name) for name in ("a.mp3", "a.wav", "b.flac")), "-"]
    assert len(inputs.find_inputs([str(tree / "x")], limit=2, **SOUNDS)) == 2
    assert str(inputs.find_inputs([str(tree)], **SOUNDS)[-1].output) == str(Path("y") / "a")
    with pytest.raises(UserError, match="holds no audio file; give a folder that does"):
        inputs.find_inputs([str(tree / "empty")], **SOUNDS)


def test_inputs_that_would_write_over_each_other_are_refused(tree: Path) -> None:
    same = inputs.find_inputs([str(tree / "x/a.wav"), str(tree / "y/a.wav")], **SOUNDS)
    with pytest.raises(UserError, match=r"x/a\.wav and .*y/a\.wav would both be written to a\.wav; give their common"):
        inputs.check_outputs(same)
    inputs.check_outputs(inputs.find_inputs([str(tree)], **SOUNDS))


def test_names_that_are_no_files_are_kept_as_given() -> None:
    (found,) = inputs.find_inputs(["http://localhost/a.wav"], **SOUNDS)
    assert inputs.open_input(found, Path("unused")) == ("http://localhost/a.wav", "http://localhost/a.wav", "")


def test_files_are_hashed_and_stdin_is_kept(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"from a pipe"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    kept = inputs.open_input(Input("-", Path("stdin")), tree)
    assert (kept.name, kept.sha256) == ("-", hashlib.sha256(content).hexdigest())
    assert Path(kept.path).read_bytes() == content


def test_done_means_every_format_and_these_bytes(tree: Path) -> None:
    source, out = tree / "x" / "a.wav", tree / "out"
    item = Input(str(source), Path("a"))
    out.mkdir()
    assert not inputs.is_done(item, out, ["txt"])
    (out / "a.txt").write_text("")
    assert inputs.is_done(item, out, ["txt"])
    assert not inputs.is_done(item, out, ["txt", "json"])
    (out / "a.json").write_text(json.dumps({"sha256": hashlib.sha256(b"").hexdigest()}))
    assert inputs.is_done(item, out, ["txt", "json"])
    source.write_bytes(b"another take")
    assert not inputs.is_done(item, out, ["json"])
    (out / "a.json").write_text("[]")
    assert not inputs.is_done(item, out, ["json"])
    (out / "stdin.txt").write_text("")
    assert not inputs.is_done(Input("-", Path("stdin")), out, ["txt"])


def test_sweep_removes_only_what_was_begun_of_these_results(tree: Path) -> None:
    ours, other, whole = tree / ".tmp-a.json-x1", tree / ".tmp-b.json-x1", tree / "a.json"
    for path in (ours, other, whole):
        path.write_text("")
    inputs.sweep([Input("a.wav", Path("a"))], tree, ["json"])
    assert [path.exists() for path in (ours, other, whole)] == [False, True, True]
