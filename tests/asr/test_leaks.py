"""What splits share: made-up clips with planted leaks, real recordings, and the command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from asr import cli
from asr.corpora.leaks import LeakReport, find_leaks, read_splits
from asr.datasets import folder
from asr.similar_index import open_clip_index
from asr.similar_sound import Fingerprint
from signwave import manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Row

Run = Callable[..., int]


def clip(name: str, **values: Any) -> Clip:
    return Clip(
        **{"id": name, "path": f"{name}.wav", "kind": "audio", "rate_hz": 16_000.0, "num_frames": 36_000, **values}
    )


def counts(report: LeakReport) -> dict[tuple[str, str, str], int]:
    return {(leak.kind, leak.name, leak.other_name): len(leak.shared) for leak in report.leaks if leak.shared}


@pytest.fixture
def splits() -> dict[str, list[Clip]]:
    return {
        "train": [
            clip("t1", person="ann", text="\u0643\u062a\u0627\u0628", language="fa"),
            clip("t2", person="bob", text="only here"),
            clip("t3", path="same.wav"),
            clip("t4", sha256="f00d", text="shared, words!", language="en"),
        ],
        "dev": [clip("d1", person="ann"), clip("d2", person="ann", text="\u06a9\u062a\u0627\u0628!", language="fa")],
        "test": [
            clip("t2", path="x.wav", text="Shared words", language="en"),
            clip("e2", path="same.wav"),
            clip("e3", sha256="f00d"),
        ],
    }


def test_every_sort_is_counted_for_every_pair(splits: dict[str, list[Clip]]) -> None:
    report = find_leaks(splits)
    assert counts(report) == {
        ("speaker", "train", "dev"): 1, ("prompt", "train", "dev"): 1, ("prompt", "train", "test"): 1,
        ("id", "train", "test"): 1, ("file", "train", "test"): 2,
    }  # fmt: skip
    assert len(report.leaks) == 3 * 4
    speaker = report.found(["speaker"])[0]
    assert (speaker.shared[0].key, speaker.shared[0].ids, speaker.shared[0].other_ids) == ("ann", ["t1"], ["d1", "d2"])
    assert (speaker.side.num_clips, speaker.side.share) == (1, 0.25)
    assert (speaker.other_side.num_clips, speaker.other_side.hours) == (2, pytest.approx(2 * 2.25 / 3600))
    assert report.ids_of("train", ["file"]) == {"t3", "t4"}
    assert report.ids_of("test") == {"t2", "e2", "e3"}
    assert report.unknown["test"] == {"speaker": 3, "transcript": 2}
    assert "prompt  1 shared: 1 clips (25.0%, 0.001 h) of train" in report.summary()
    assert "test: 3 clips have no speaker" in report.summary()
    table = report.table().splitlines()
    assert table[0].split("\t")[:4] == ["kind", "split", "other_split", "key"]
    assert len(table) == 1 + 6
    with pytest.raises(UserError, match="train: one set shares nothing"):
        find_leaks({"train": splits["train"]})


def save(path: Path, audio: Any, rate_hz: int = 16_000) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate_hz)
    return str(path)


def mumble(rng: np.random.Generator, *, num_syllables: int = 25) -> NDArray[np.float64]:
    """3 s at 16 kHz: bursts of noise in two bands that move, loud and soft, as syllables are."""
    hz = np.fft.rfftfreq(1920, 1 / 16_000)
    bursts = []
    for _ in range(num_syllables):
        first, second = rng.uniform(300, 900), rng.uniform(1000, 3000)
        gain = np.exp(-(((hz - first) / 120) ** 2)) + np.exp(-(((hz - second) / 200) ** 2))
        bursts.append(np.fft.irfft(np.fft.rfft(rng.normal(0, 1, 1920)) * gain, 1920) * rng.uniform(0.05, 1))
    sound = np.concatenate(bursts)
    return sound / np.abs(sound).max() / 2


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder as `asr prepare` leaves it; a recording of test is in train too, at another level and rate."""
    rng = np.random.default_rng(0)
    sounds = [mumble(rng) for _ in range(4)]
    rows = {
        "train": [(f"t{n}", save(tmp_path / f"t{n}.wav", sounds[n])) for n in range(3)],
        "test": [
            ("copy", save(tmp_path / "copy.wav", soxr.resample(0.5 * sounds[1], 16_000, 8_000), 8_000)),
            ("new", save(tmp_path / "new.wav", sounds[3])),
        ],
    }
    (tmp_path / "out").mkdir()
    for split, named in rows.items():
        clips = [clip(name, path=path, person=f"{split}-{name}", num_frames=48_000) for name, path in named]
        manifest.write(tmp_path / "out" / f"{split}.jsonl.gz", clips)
    return tmp_path / "out"


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with these arguments; gives the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        return cli.main()

    return run


def test_copies_are_heard(asr: Run, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, clean = tmp_path / "leaks.tsv", tmp_path / "clean.jsonl.gz"
    train, test = prepared / "train.jsonl.gz", prepared / "test.jsonl.gz"
    arguments = [train, test, "--out", out, "--index", tmp_path / "index", "--json", "-q"]
    assert asr("leaks", *arguments, "--drop", clean) == 0
    captured = capsys.readouterr()
    found = {leak["kind"]: leak["num_shared"] for leak in json.loads(captured.out)["leaks"]}
    assert found == {"speaker": 0, "prompt": 0, "id": 0, "file": 0, "audio": 1}
    assert out.read_text().splitlines()[1].split("\t")[-2:] == ["t1", "copy"]
    assert [c.id for c in manifest.read(clean)] == ["t0", "t2"]
    assert all(Path(c.path).is_file() for c in manifest.read(clean))
    assert "1 of 3 clips of train left out" in captured.err
    assert asr("leaks", *arguments, "--fail-on", "audio,speaker") == 1
    assert "shared between splits: audio; --out names them" in capsys.readouterr().err
    assert asr("leaks", *arguments, "--fail-on", "speaker") == 0
    assert asr("leaks", clean, test, "--index", tmp_path / "index", "--fail-on", "audio", "-q") == 0


def test_without_listening_a_folder_is_enough(asr: Run, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asr("leaks", prepared, "--no-audio") == 0
    text = capsys.readouterr().out
    assert "test and train" in text
    assert "audio" not in text


def test_what_cannot_be_read_is_named_and_the_rest_compared(
    asr: Run, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t0.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "new.wav").unlink()
    assert asr("leaks", prepared, "-q", "--json") == 3
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert sorted(Path(failure["file"]).name for failure in document["failures"]) == ["new.wav", "t0.wav"]
    assert {leak["kind"]: leak["num_shared"] for leak in document["leaks"]}["audio"] == 1
    assert captured.err.count("failed: ") == 2


def test_wrong_use_is_one_line(asr: Run, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = prepared / "train.jsonl.gz"
    for arguments, message in (
        ([train, train], "one of them twice"),
        ([train], "one set shares nothing; give two manifests or more"),
        ([tmp_path / "index-of-nothing"], "no such manifest"),
        ([prepared.parent], "holds no manifest"),
        ([prepared, "--fail-on", "person"], "--fail-on person: 'person' is unknown; allowed are speaker, prompt, id"),
    ):
        assert asr("leaks", *arguments, "--no-audio") == 1
        assert message in capsys.readouterr().err


def test_splits_of_one_name_are_told_apart_by_their_path(prepared: Path, tmp_path: Path) -> None:
    manifest.write(tmp_path / "test.jsonl", [clip("x")])
    names = list(read_splits([prepared, tmp_path / "test.jsonl"]))
    assert names == [str(prepared / "test.jsonl.gz"), "train", str(tmp_path / "test.jsonl")]


def test_words_cut_from_a_sentence_are_found_in_it(shared_data: Path) -> None:
    """Real speech: the word cuts of a sentence leak into it, unrelated sentences don't."""
    aligned = shared_data / "speech" / "icefall_kaldi_align"
    files = sorted(aligned.glob("*.wav"), key=lambda path: -path.stat().st_size)
    sentence, words = files[0], [path for path in files[1:] if soundfile.info(str(path)).duration >= 0.35]
    unrelated = sorted((shared_data / "speech" / "speechbrain_samples" / "ASR").glob("*.wav"))

    def as_clips(paths: list[Path]) -> list[Clip]:
        return [Clip(id=path.stem, path=str(path), kind="audio") for path in paths]

    with open_clip_index(None, Fingerprint()) as index:
        report = find_leaks(
            {"words": as_clips(words), "sentence": as_clips([sentence]), "others": as_clips(unrelated)}, index=index
        )
    assert words
    assert report.ids_of("words", ["audio"]) == {path.stem for path in words}
    assert report.ids_of("others", ["audio"]) == set()


def test_a_toolkit_s_samples_share_their_speakers_and_nothing_else(shared_data: Path) -> None:
    raw = shared_data / "speech" / "speechbrain_samples"
    splits = {}
    for name in ("train", "dev"):
        table = f"annotation/ASR_{name}.json"
        rows = folder.prepare(raw, table=table, audio_root=str(raw / "ASR"), text_column="wrd", language="en")
        splits[name] = [row.clip for row in rows if isinstance(row, Row)]
    with open_clip_index(None, Fingerprint()) as index:
        report = find_leaks(splits, index=index)
    assert [(leak.kind, len(leak.shared)) for leak in report.leaks if leak.shared] == [("speaker", 2)]
    assert report.ids_of("dev") == {"spk1_snt5", "spk2_snt5"}
    assert not report.failures
