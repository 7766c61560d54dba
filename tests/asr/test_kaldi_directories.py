"""Kaldi data directories: nothing of them is ever run."""

from pathlib import Path

import pytest

from asr.datasets import kaldi
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row


def make(folder: Path, **tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(text, encoding="utf-8")
    return folder


def clips_of(rows: "list[Row | Problem]") -> list[Clip]:
    return [row.clip for row in rows if isinstance(row, Row)]


def problems_of(rows: "list[Row | Problem]") -> list[Problem]:
    return [row for row in rows if isinstance(row, Problem)]


def test_utterances_with_texts_speakers_and_lengths(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    folder = make(
        tmp_path / "data" / "train",
        wav_scp="u1 a.wav\nu2\tb.wav\nu3 c.wav\n",
        text="u1  HELLO   THERE\nu2 BYE\n",
        utt2spk="u1 s1\nu2 s1\nu3 s2\n",
        utt2dur="u1 2.5\n",
        utt2lang="u2 fa\n",
    )
    rows = list(kaldi.prepare(folder, language="en"))
    assert [(c.id, c.text, c.person, c.language, c.split, c.duration_seconds) for c in clips_of(rows)] == [
        ("u1", "HELLO THERE", "s1", "en", "train", 2.5), ("u2", "BYE", "s1", "fa", "train", None),
    ]  # fmt: skip
    assert clips_of(rows)[0].path == str(tmp_path / "a.wav")  # found from a folder above
    assert [(p.kind, p.where) for p in problems_of(rows)] == [("no_text", f"{folder}/wav.scp:3")]


def test_segments_cut_recordings(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "all",
        wav_scp="rec1 rec1.wav\n",
        segments="u1 rec1 0.5 2.25\nu2 rec1 3 -1\nu3 rec9 0 1\nu4 rec1 2 1\nu5 rec1 now\n",
        spk2utt="s1 u1 u2\n",
        reco2dur="rec1 10\n",
    )
    rows = list(kaldi.prepare(folder, audio_root=str(tmp_path / "audio")))
    assert [(c.id, c.path, c.start_seconds, c.end_seconds, c.person) for c in clips_of(rows)] == [
        ("u1", str(tmp_path / "audio" / "rec1.wav"), 0.5, 2.25, "s1"),
        ("u2", str(tmp_path / "audio" / "rec1.wav"), 3.0, None, "s1"),
    ]
    assert [(p.where.rsplit(":", 1)[1], p.kind) for p in problems_of(rows)] == [
        ("3", "missing"), ("4", "invalid"), ("5", "invalid"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("flac -c -d -s {a} |", "file"),
        ("/opt/sph2pipe -f wav -p {a} |", "file"),
        ("cat {a} |", "file"),
        ("'cat' '{a}'|", "file"),
        ("sph2pipe -f wav -p -c 2 {a} |", "command"),
        ("flac -c -d {a} {a} |", "command"),
        ("sox {a} -t wav - speed 1.1 |", "command"),
        ("cat {a}; touch {marker} |", "command"),
        ("touch {marker} |", "command"),
        ("cat 'unclosed |", "command"),
        ("|", "command"),
        ("raw.ark:1234", "archive"),
        ("", "missing"),
    ],
)
def test_commands_are_understood_or_refused_and_never_run(entry: str, expected: str, tmp_path: Path) -> None:
    audio, marker = tmp_path / "a b.wav" if "'cat'" in entry else tmp_path / "a.wav", tmp_path / "marker"
    audio.touch()
    folder = make(tmp_path / "d", wav_scp=f"u1 {entry.format(a=audio, marker=marker)}\n")
    (row,) = kaldi.prepare(folder)
    assert not marker.exists()
    if expected == "file":
        assert isinstance(row, Row)
        assert row.clip.path == str(audio)
    else:
        assert isinstance(row, Problem)
        assert row.kind == expected


def test_utterances_that_are_their_own_speakers_say_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", wav_scp="u1 a.wav\nu2 b.wav\n", utt2spk="u1 u1\nu2 u2\n")
    assert {clip.person for clip in clips_of(list(kaldi.prepare(folder)))} == {""}


def test_a_folder_of_directories_is_its_splits(tmp_path: Path) -> None:
    for name in ("train_clean", "dev", "test"):
        make(tmp_path / name, wav_scp=f"{name} a.wav\n")
    assert {c.split for c in clips_of(list(kaldi.prepare(tmp_path)))} == {"train_clean", "dev", "test"}
    assert [c.id for c in clips_of(list(kaldi.prepare(tmp_path, splits="dev")))] == ["dev"]
    with pytest.raises(UserError, match="has no data directory 'train'; found dev, test, train_clean"):
        list(kaldi.prepare(tmp_path, splits="train"))
    with pytest.raises(UserError, match=r"neither it nor a folder in it holds a wav\.scp"):
        list(kaldi.prepare(tmp_path / "dev" / "deeper"))


def test_a_real_directory_whose_sounds_are_commands(shared_data: Path) -> None:
    rows = list(kaldi.prepare(shared_data / "speech" / "formats" / "mini_librispeech"))
    assert len(rows) == 38
    assert {problem.kind for problem in problems_of(rows)} == {"command"}
