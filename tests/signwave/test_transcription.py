"""Many inputs through a recogniser made up here: streams, folders, failures, the document, the dry run."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from signwave import transcription
from signwave.command import Failure
from signwave.errors import MediaError, UserError
from signwave.inputs import InputFile
from signwave.transcript import ModelName, Transcript, Word, split_at_pauses
from signwave.transcription import Medium, Request

TEXTS = Medium(suffixes=frozenset({".words"}), noun="words file", verb="reading", cue_pause_seconds=2.0)


class Reader:
    """Recognises the words that a file consists of, one a second."""

    name = ModelName("reader", "f" * 64)

    def transcribe_files(self, files: Iterable[InputFile], *, fail_fast: bool = False) -> Iterator[Transcript]:
        for file in files:
            common = {"file": file.name, "sha256": file.sha256, "model": self.name}
            try:
                yield self._read(file.path, common)
            except OSError:
                error = MediaError(file.path, "does not exist", kind="missing")
                if fail_fast:
                    raise error from None
                yield Transcript(**common, status="failed", error=Failure.of(file.name, error))

    def _read(self, path: str, common: dict[str, Any]) -> Transcript:
        tokens = Path(path).read_text().split()
        words = [Word(token, index, index + 0.2, 0.5) for index, token in enumerate(tokens)]
        segments = split_at_pauses(words, pause_seconds=2.0)
        if not segments:
            return Transcript(**common, status="empty", warnings=("silence",), duration_seconds=1.0, rtf=0.5)
        return Transcript(**common, segments=segments, duration_seconds=len(words), rtf=0.5)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    for name, text in (("a", "one two"), ("b", ""), ("deep/c", "three")):
        path = tmp_path / "in" / f"{name}.words"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "in"


def transcribe(*arguments: object, **options: Any) -> int:
    return transcription.transcribe(Request(arguments=[str(a) for a in arguments], **options), TEXTS, Reader)


def test_stdout_holds_results_and_stderr_the_talk(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transcribe(words / "a.words") == 0
    assert capsys.readouterr().out == "one two\n"
    assert transcribe(words) == 0
    captured = capsys.readouterr()
    names = [f"{words}/{name}.words" for name in ("a", "b", "deep/c")]
    assert captured.out == f"{names[0]}\tone two\n{names[1]}\t\n{names[2]}\tthree\n"
    assert f"{names[1]}: silence\n" in captured.err
    assert captured.err.endswith("2 ok, 1 empty, 4 s at 2.0 x real time\n")
    assert transcribe(words, quiet=True, formats=["jsonl"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["status"] for line in captured.out.splitlines()] == ["ok", "empty", "ok"]
    assert captured.err == ""


def test_subtitles_break_at_the_mediums_pauses(words: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert transcribe(words / "a.words", formats=["vtt"], quiet=True) == 0
    shown = capsys.readouterr().out
    assert shown.count("-->") == 1
    assert transcribe(words / "a.words", formats=["vtt"], quiet=True, out_dir=tmp_path / "out") == 0
    assert (tmp_path / "out" / "a.vtt").read_text() == shown


def test_failures_are_named_and_the_rest_is_done(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, gone = words.parent / "out", words / "gone.words"
    assert transcribe(words, gone, out_dir=out, formats=["txt,tsv"], as_json=True) == 3
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [document[f"num_{status}"] for status in ("ok", "empty", "skipped", "failed")] == [2, 1, 0, 1]
    assert (document["duration"], document["rtf"]) == (4.0, 0.5)
    assert document["records"][3]["error"]["kind"] == "missing"
    assert "failed: " in captured.err
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == ["a.tsv", "a.txt", "b.tsv", "b.txt", "deep/c.tsv", "deep/c.txt"]
    assert transcribe(gone) == 1
    with pytest.raises(MediaError, match="does not exist"):
        transcribe(gone, words, fail_fast=True)


def test_skipped_inputs_are_not_read_again(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = words.parent / "out"
    assert transcribe(words / "a.words", out_dir=out, formats=["json"]) == 0
    assert transcribe(words, out_dir=out, formats=["json"], skip_existing=True) == 0
    assert "1 ok, 1 empty, 1 skipped" in capsys.readouterr().err


def test_dry_runs_load_no_model_and_write_nothing(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> Reader:
        raise AssertionError("loaded")

    out = words.parent / "out"
    file = str(words / "a.words")
    for target, out_dir in (("stdout", None), (f"{out}/a.txt", out)):
        assert transcription.transcribe(Request(arguments=[file], out_dir=out_dir, dry_run=True), TEXTS, load) == 0
        assert capsys.readouterr().out == f"{file} -> {target}\n"
    assert not out.exists()


def test_an_output_folder_that_cannot_be_made_is_found_before_the_model_is_loaded(words: Path) -> None:
    def load() -> Reader:
        raise AssertionError("loaded")

    file = str(words / "a.words")
    with pytest.raises(FileExistsError):
        transcription.transcribe(Request(arguments=[file], out_dir=Path(file)), TEXTS, load)


def test_requests_that_contradict_themselves(words: Path) -> None:
    with pytest.raises(typer.BadParameter, match="needs --out DIR: it looks there"):
        transcribe(words, skip_existing=True)
    with pytest.raises(UserError, match="stdout takes one format; add --out DIR for several"):
        transcribe(words, formats=["srt", "vtt"])
    with pytest.raises(UserError, match="--format srt with 3 inputs needs --out DIR"):
        transcribe(words, formats=["srt"])
    empty = words.parent / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no words file"):
        transcribe(empty)
