"""`asr prepare` from the command line to the manifest, with every kind of bad clip among good ones."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr import cli
from asr.prepare import CharacterTable, ClipCheck, clip_check, corpora, load_corpus, parse_settings
from signwave import manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem
from signwave.text import Normaliser, Vocabulary

Run = Callable[..., int]


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with these arguments; gives the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        return cli.main()

    return run


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two good clips, and one of each trouble."""
    raw = tmp_path / "raw"
    raw.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    for name, audio, text in (
        ("good1", noise, "hello you"),
        ("good2", noise[:16_000], "bye"),
        ("silent", np.zeros(16_000, np.float32), "not there"),
        ("header", np.zeros(0, np.float32), "no sample"),
        ("short", noise[:1600], "far too many letters for a tenth of a second"),
        ("long", np.tile(noise, 40), "too long"),
    ):
        soundfile.write(raw / f"{name}.wav", audio, 16_000)
        (raw / f"{name}.txt").write_text(text)
    (raw / "broken.wav").write_bytes(b"RIFF nothing of the kind")
    (raw / "broken.txt").write_text("damaged")
    (raw / "alone.wav").write_bytes((raw / "good1.wav").read_bytes())
    return raw


def test_bad_clips_are_named_counted_and_left_out(
    asr: Run, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert asr("prepare", "folder", recordings, out, "--language", "en", "--json") == 3
    report = json.loads(capsys.readouterr().out)
    assert report["problem_counts"] == {
        "no_text": 1, "unreadable": 1, "empty": 1, "too_long": 1, "label_too_long": 1, "silent": 1,
    }  # fmt: skip
    where = {problem["kind"]: problem["where"] for problem in report["problems"]}
    assert where["unreadable"] == str(recordings / "broken.wav")
    kept = list(manifest.read(out / "all.jsonl.gz"))
    assert [(c.id, c.num_frames, c.language) for c in kept] == [("good1", 32_000, "en"), ("good2", 16_000, "en")]
    assert all(len(c.sha256) == 64 for c in kept)
    assert report["characters"]["l"] == 2
    assert json.loads((out / "prepare.json").read_text())["corpus"] == "folder"


def test_people_get_a_summary(asr: Run, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asr("prepare", "folder", recordings, tmp_path / "out", "--dry-run") == 3
    text = capsys.readouterr().out
    assert "all  2 clips, 0.00 h" in text
    assert "left out 6:" in text
    assert "dry run: nothing was written" in text
    assert "characters: " in text
    assert not (tmp_path / "out").exists()


def test_other_levels_of_checking(asr: Run, recordings: Path, tmp_path: Path) -> None:
    assert asr("prepare", "folder", recordings, tmp_path / "probed", "--check", "probe", "-q") == 3
    assert [c.id for c in manifest.read(tmp_path / "probed" / "all.jsonl.gz")] == ["good1", "good2", "silent"]
    assert asr("prepare", "folder", recordings, tmp_path / "raw-list", "layout=audio", "--check", "none", "-q") == 0
    assert len(list(manifest.read(tmp_path / "raw-list" / "all.jsonl.gz"))) == 8


def test_wrong_usage_and_impossible_wishes(
    asr: Run, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert asr("prepare", "folder") == 2
    assert "give RAW_DIR and OUT_DIR, or --describe" in capsys.readouterr().err
    assert asr("prepare", "folder", recordings, out, "--limit", "0") == 2
    for arguments, message in (
        (("comon-voice", recordings, out), "corpus 'comon-voice': unknown; there are arabic-speech-commands, asterisk"),
        (("folder", tmp_path / "absent", out), "absent: no such folder; give the corpus as distributed"),
        (
            ("folder", recordings, out, "tabel=x"),
            "setting 'tabel=x': expected key=value with a key of language, layout",
        ),
        (("folder", recordings, out, "--check", "maybe"), "--check maybe: unknown; allowed are decode, probe, none"),
        (("folder", recordings, out, "--fail-fast"), "leave out --fail-fast to keep the other rows"),
        (("folder", recordings, out, "--model", recordings), "holds no bundle.json"),
    ):
        capsys.readouterr()
        assert asr("prepare", *arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1


def test_describe_needs_no_folder(asr: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for corpus in corpora():
        assert asr("prepare", corpus, "--describe") == 0
        text = capsys.readouterr().out
        assert "settings: " in text
        assert "icence" in text, f"{corpus} doesn't say its licence"


def test_a_genuine_release_prepares_without_a_problem(asr: Run, shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "speech" / "common_voice_ur_22.0_delta"
    assert asr("prepare", "common-voice", raw, tmp_path, "-q") == 0
    clips = list(manifest.read(tmp_path / "other.jsonl.gz"))
    assert len(clips) == 15
    assert all(c.rate_hz == 16_000 and c.num_frames for c in clips)
    assert not list(tmp_path.glob(".tmp-*"))


def audio_clip(path: Path, **fields: Any) -> Clip:
    return Clip(**{"id": "x", "path": str(path), "kind": "audio", "text": "ab", **fields})


def test_announced_and_measured_lengths_are_compared(recordings: Path) -> None:
    good = recordings / "good1.wav"
    same = ClipCheck()(audio_clip(good, num_frames=2010, rate_hz=1000.0))
    assert isinstance(same, Clip)
    assert (same.num_frames, same.rate_hz) == (32_000, 16_000.0)
    cut = ClipCheck()(audio_clip(good, num_frames=9_000, rate_hz=1000.0))
    assert isinstance(cut, Problem)
    assert (cut.kind, "holds 2.00 s of the 9.00 s announced" in cut.reason) == ("truncated", True)


def test_spans_are_measured_within_their_file(recordings: Path) -> None:
    check = ClipCheck()
    good = recordings / "good1.wav"
    part = check(audio_clip(good, start_seconds=0.5, end_seconds=1.5))
    assert isinstance(part, Clip)
    assert (part.num_frames, part.end_seconds) == (16_000, 1.5)
    tail = check(audio_clip(good, start_seconds=0.5))
    assert isinstance(tail, Clip)
    assert tail.num_frames == 24_000
    outside = check(audio_clip(good, start_seconds=1.0, end_seconds=7.0))
    assert isinstance(outside, Problem)
    assert "the span [1, 7) s lies outside the 2.00 s of audio" in outside.reason
    assert len(check.files) == 1  # opened once


def test_transcripts_must_fit_the_vocabulary(recordings: Path) -> None:
    check = ClipCheck(
        normaliser=Normaliser("n", steps=("lower", "strip_punctuation", "collapse_spaces")),
        vocabulary=Vocabulary(("<blank>", "a", "b", "|"), "char"),
    )
    good = recordings / "good1.wav"
    assert isinstance(check(audio_clip(good, text="AB, ba!")), Clip)
    unknown = check(audio_clip(good, text="abcx"))
    assert isinstance(unknown, Problem)
    assert (unknown.kind, unknown.reason) == ("label", "'c', 'x' not in the vocabulary (transcript 'abcx')")
    nothing = check(audio_clip(good, text="?!"))
    assert isinstance(nothing, Problem)
    assert nothing.kind == "no_text"


@pytest.mark.parametrize(("text", "fits"), [("a" * 50, True), ("a" * 51, False), ("ab" * 50, True), ("ab" * 51, False)])
def test_a_label_needs_a_step_per_token_and_one_more_between_equal_ones(
    recordings: Path, text: str, fits: bool
) -> None:
    # 2 s are 100 steps of 20 ms; 50 equal letters need 50 + 49.
    outcome = ClipCheck()(audio_clip(recordings / "good1.wav", text=text))
    assert isinstance(outcome, Clip) == fits


def test_settings_take_the_type_of_their_default() -> None:
    def prepare(raw: Path, *, count: int = 3, rate: float = 0.5, on: bool = False, name: str = "") -> None:
        pass

    assert parse_settings(prepare, ["count=7", "rate=2", "on=true", "name=a=b"]) == {
        "count": 7, "rate": 2.0, "on": True, "name": "a=b",
    }  # fmt: skip
    with pytest.raises(UserError, match="setting count=many: expected a value like 3"):
        parse_settings(prepare, ["count=many"])
    with pytest.raises(UserError, match="did you mean 'count'"):
        parse_settings(prepare, ["cuont=1"])


def test_corpora_are_modules() -> None:
    assert {"folder", "common-voice"} <= set(corpora())
    assert load_corpus("common_voice") is load_corpus("common-voice")
    with pytest.raises(UserError, match="did you mean 'folder'"):
        load_corpus("fodler")
    with pytest.raises(UserError, match="unknown"):
        load_corpus("../evil")


def test_character_table() -> None:
    table = CharacterTable(Normaliser("n", steps=("lower",)))
    table(audio_clip(Path("x"), text="Ab a"))
    assert table.to_dict() == {"a": 2, "b": 1, " ": 1}
    assert table.summary() == "3 characters: a b ␣"
    assert "no transcripts" in CharacterTable().summary()


def test_the_check_of_the_options(tmp_path: Path) -> None:
    check = clip_check("probe", max_seconds=5, step_seconds=0.04)
    assert (check.level, check.max_seconds, check.step_seconds) == ("probe", 5, 0.04)


def test_splits_are_drawn_on_request(asr: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,text,speaker"]
    for number in range(24):
        soundfile.write(raw / f"{number}.wav", rng.normal(0, 0.1, 16_000), 16_000)
        lines.append(f"{number}.wav,sentence {number},s{number % 8}")
    (raw / "metadata.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    options = ["--split-by", "speaker", "--split-sizes", "train=0.5,test=0.5", "--check", "probe", "-q"]
    assert asr("prepare", "folder", raw, out, *options, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["drawn_splits"]["shares"] == {"train": 0.5, "test": 0.5}
    assert report["drawn_splits"]["num_components"] == 8
    assert json.loads((out / "prepare.json").read_text())["drawn_splits"]["by"] == ["speaker"]
    assert asr("leaks", out, "--no-audio", "--fail-on", "speaker,prompt,file") == 0
    both = ["--split-by", "speaker,prompt", "--split-conflicts", "drop", "--split-sizes", "train=0.5,test=0.5"]
    assert asr("prepare", "folder", raw, tmp_path / "both", *both, "--check", "none", "-q") == 0
    assert asr("prepare", "folder", raw, out, "--split-by", "language", "-q") == 1
    assert "--split-by language: allowed are speaker and prompt" in capsys.readouterr().err
