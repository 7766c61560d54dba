"""Lhotse manifests read and written, NeMo lines written."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr import cli
from asr.corpora.exports import write_as
from asr.datasets import folder, lhotse
from signwave import manifest
from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def sound(path: Path, *, seconds: float = 2.0, rate_hz: int = 8000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate_hz), channels))
    soundfile.write(path, noise, rate_hz)
    return path


def recording(name: str, source: str, **more: Any) -> dict[str, Any]:
    values = {
        "id": name, "sources": [{"type": "file", "channels": [0], "source": source}], "sampling_rate": 8000,
        "num_samples": 16000, "duration": 2.0,
    }  # fmt: skip
    return {**values, **more}


def supervision(name: str, start: float, seconds: float, **more: Any) -> dict[str, Any]:
    return {"id": name, "recording_id": "r1", "start": start, "duration": seconds, "channel": 0, **more}


def clips_of(rows: "list[Row | Problem]") -> list[Clip]:
    return [row.clip for row in rows if isinstance(row, Row)]


def kinds_of(rows: "list[Row | Problem]") -> list[str]:
    return [row.kind for row in rows if isinstance(row, Problem)]


def test_recordings_and_supervisions(tmp_path: Path) -> None:
    sound(tmp_path / "audio" / "a.wav")
    save(tmp_path / "x_recordings_train.jsonl.gz", [recording("r1", "somebody/audio/a.wav")])
    rows = [
        supervision("s1", 0.0, 2.0, text="the  whole", speaker="p1", language="en"),
        supervision("s2", 0.5, 1.0, text="a part"),
        supervision("s3", 0.5, 1.0, recording_id="r9"),
        {"id": "s4", "recording_id": "r1", "start": 0},
    ]
    save(tmp_path / "x_supervisions_train.jsonl.gz", rows)
    found = list(lhotse.prepare(tmp_path))
    assert [(c.id, c.text, c.person, c.language, c.split, c.start_seconds, c.end_seconds) for c in clips_of(found)] == [
        ("s1", "the whole", "p1", "en", "train", 0.0, None), ("s2", "a part", "", "", "train", 0.5, 1.5),
    ]  # fmt: skip
    assert [c.duration_seconds for c in clips_of(found)] == [2.0, 1.0]
    assert {c.path for c in clips_of(found)} == {str(tmp_path / "audio" / "a.wav")}
    assert kinds_of(found) == ["missing", "invalid"]
    assert "the key 'duration' is missing" in str(found[-1])
    one_file = list(lhotse.prepare(tmp_path / "x_recordings_train.jsonl.gz"))
    assert [c.id for c in clips_of(one_file)] == ["s1", "s2"]
    (tmp_path / "x_supervisions_train.jsonl.gz").unlink()
    assert [(c.id, c.text) for c in clips_of(list(lhotse.prepare(tmp_path)))] == [("r1", "")]


def cut(name: str, start: float, seconds: float, spoken: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    values = {"id": name, "start": start, "duration": seconds, "channel": 0, "supervisions": spoken,
              "recording": recording("r1", "a.wav"), "type": "MonoCut"}  # fmt: skip
    return {**values, **more}


def test_cuts_give_a_clip_per_supervision(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    two_channels = [{"type": "file", "channels": [0, 1], "source": "a.wav"}]
    rows = [
        cut("c1", 0.5, 1.0, [supervision("s1", 0.0, 1.0, text="one"), supervision("s2", 0.25, 9.0, text="two")]),
        cut("c2", 0.0, 1.0, []),
        {"id": "c3", "type": "MixedCut", "tracks": []},
        cut(
            "c4", 0, 1, [], recording=recording("r", "x", sources=[{"type": "command", "channels": [0], "source": "x"}])
        ),
        cut("c5", 0, 1, [supervision("s5", 0, 1)], recording=recording("r", "a.wav", sources=two_channels)),
        cut("c6", 0, 1, [], recording=recording("r", "a.wav", transforms=[{"name": "Speed", "kwargs": {}}])),
        cut(
            "c7",
            0,
            1,
            [supervision("s7", 0, 1, channel=[0, 1])],
            recording=recording("r", "a.wav", sources=two_channels),
        ),
        cut("c8", 0, "long", []),
    ]
    found = list(lhotse.prepare(save(tmp_path / "cuts.jsonl", rows)))
    assert [(c.id, c.text, c.start_seconds, c.end_seconds) for c in clips_of(found)] == [
        ("s1", "one", 0.5, 1.5), ("s2", "two", 0.75, 1.5), ("c2", "", 0.0, 1.0), ("s7", "", 0.0, 1.0),
    ]  # fmt: skip
    assert kinds_of(found) == ["mixed", "command", "channel", "transform", "invalid"]
    assert [str(row).split(":")[1] for row in found if isinstance(row, Problem)] == ["3", "4", "5", "6", "8"]


def test_what_is_no_manifest_is_said(tmp_path: Path) -> None:
    save(tmp_path / "supervisions.jsonl", [])
    with pytest.raises(UserError, match=r"holds no manifest called …cuts… or …recordings…"):
        list(lhotse.prepare(tmp_path))
    save(tmp_path / "cuts_dev.jsonl", [])
    with pytest.raises(UserError, match="has no split 'test'; found dev"):
        list(lhotse.prepare(tmp_path, splits="test"))


def test_real_cuts(shared_data: Path) -> None:
    formats = shared_data / "speech" / "formats"
    (libri,) = clips_of(list(lhotse.prepare(formats / "libri")))
    assert (libri.id, libri.text, libri.person, libri.end_seconds) == ("sup-1", "EXAMPLE OF TEXT", "libri-spk1", 10.0)
    speech = clips_of(list(lhotse.prepare(formats / "ljspeech")))
    assert [clip.id for clip in speech] == ["LJ002-0020", "LJ002-0035"]
    assert speech[0].text == "IN EIGHTEEN THIRTEEN"
    assert all(Path(clip.path).is_file() for clip in (libri, *speech))


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Two files of one name in two folders, one of them heard in two spans, and one with two channels."""
    one, other = sound(tmp_path / "d1" / "a.wav"), sound(tmp_path / "d2" / "a.wav", seconds=3.0)
    both = sound(tmp_path / "stereo.wav", channels=2)
    values: dict[str, Any] = {"kind": "audio", "rate_hz": 8000.0}
    return [
        Clip(id="whole", path=str(one), text="سلام", language="fa", person="p", num_frames=16000, **values),
        Clip(id="part", path=str(other), text="b", start_seconds=1.0, end_seconds=2.5, num_frames=12000, **values),
        Clip(id="part2", path=str(other), text="c", start_seconds=0.0, end_seconds=0.5, num_frames=4000, **values),
        Clip(id="stereo", path=str(both), text="d", num_frames=16000, **values),
    ]


@pytest.mark.parametrize("form", ["lhotse", "lhotse-cuts"])
def test_what_is_written_for_lhotse_comes_back(form: str, clips: list[Clip], tmp_path: Path) -> None:
    written = write_as(clips, tmp_path / "out", form=form, name="dev")
    assert [path.name for path in written] == (
        ["cuts_dev.jsonl.gz"] if form == "lhotse-cuts" else ["recordings_dev.jsonl.gz", "supervisions_dev.jsonl.gz"]
    )
    back = clips_of(list(lhotse.prepare(tmp_path / "out")))
    facts = ("id", "path", "text", "language", "person", "start_seconds", "duration_seconds")
    assert [[getattr(c, fact) for fact in facts] for c in back] == [[getattr(c, fact) for fact in facts] for c in clips]
    with gzip.open(written[0], "rt") as file:
        rows = [json.loads(line) for line in file]
    ids = [row["recording"]["id"] if form == "lhotse-cuts" else row["id"] for row in rows]
    assert len(set(ids)) == 3
    assert ids[-1] == "stereo"


def test_what_is_written_for_nemo_comes_back(clips: list[Clip], tmp_path: Path) -> None:
    (path,) = write_as(clips, tmp_path / "out", form="nemo", name="dev")
    first = json.loads(path.read_text().splitlines()[0])
    assert first == {"audio_filepath": clips[0].path, "duration": 2.0, "text": "سلام", "lang": "fa", "speaker": "p"}
    back = clips_of(list(folder.prepare(tmp_path / "out")))
    assert [(c.path, c.text, c.start_seconds, c.end_seconds) for c in back] == [
        (c.path, c.text, c.start_seconds, c.end_seconds) for c in clips
    ]
    assert back[0].person == "p"


def test_clips_without_a_length_are_refused(clips: list[Clip], tmp_path: Path) -> None:
    bare = [Clip(id="bare", path=clips[0].path, kind="audio")]
    with pytest.raises(ManifestError, match="clip 'bare': its length is unknown; prepare it with --check probe"):
        write_as(bare, tmp_path / "out", form="nemo", name="dev")
    with pytest.raises(UserError, match="--to kaldi: unknown; allowed are lhotse, lhotse-cuts, nemo"):
        write_as(clips, tmp_path / "out", form="kaldi", name="dev")
    with pytest.raises(UserError, match="there is no clip to write"):
        write_as([], tmp_path / "out", form="nemo", name="dev")
    assert not (tmp_path / "out").exists()


def test_the_command(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest.write(tmp_path / "dev.jsonl.gz", clips)
    arguments = ["asr", "manifest", str(tmp_path / "dev.jsonl.gz"), str(tmp_path / "out"), "--json"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert cli.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"files": [str(tmp_path / "out" / "cuts_dev.jsonl.gz")], "num_clips": 4}
