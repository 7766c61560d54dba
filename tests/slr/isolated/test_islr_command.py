"""`slr islr`: signs named by a recogniser that is made up, and by a tiny real one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from signwave import bundle, command, manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.media.video import write_video
from slr import cli
from slr.commands import islr
from slr.crosslingual.segments import BLANK_GLOSS, Segment, SegmentsHeader, write_segments
from slr.crosslingual.signs import Sign
from slr.isolated.infer import IsolatedRecognizer, Seen
from slr.isolated.model import IsolatedSigns
from slr.isolated.naming import Request, is_table, name_signs, request_of_clip, request_of_table, score
from slr.medium import ISOLATED_KIND

GLOSSES = {"first": (BLANK_GLOSS, "A", "B", "C"), "second": (BLANK_GLOSS, "X")}


class Fake:
    """Says what stands in the ids: the places of the classes from the likeliest on, as 2130; "bad" can't be read."""

    languages = ("first", "second")

    def __init__(self) -> None:
        self.sources = {"first": {"sha256": "f" * 64}}

    def glosses(self, language: str) -> tuple[str, ...]:
        return GLOSSES[language]

    def see(self, signs: Sequence[Sign], *, quiet: bool = True) -> Seen:
        rows = {name: np.full((len(signs), len(found)), np.nan, np.float32) for name, found in GLOSSES.items()}
        problems = {}
        for place, sign in enumerate(signs):
            if sign.clip.id.startswith("bad"):
                problems[place] = "broken"
                continue
            for rank, number in enumerate(sign.clip.id[:4]):
                rows["first"][place, int(number)] = np.log([0.5, 0.3, 0.15, 0.05][rank])
            rows["second"][place] = np.log([0.25, 0.75])
        return Seen(np.zeros((len(signs), 2), np.float32), rows, problems)


def _sign(name: str, gloss: str) -> Sign:
    return Sign(Clip(id=name, path="x.pose", kind="pose", num_frames=10, rate_hz=25.0), gloss)


def test_guesses_come_in_order_with_their_probabilities() -> None:
    found = name_signs(Fake(), [Request("one.pose", "", [_sign("2130", "")])], num_best=2)
    (row,) = found.rows
    assert [guess["gloss"] for guess in row["best"]["first"]] == ["B", "A"]
    assert [guess["probability"] for guess in row["best"]["first"]] == pytest.approx([0.5, 0.3])
    assert [guess["gloss"] for guess in row["best"]["second"]] == ["X", BLANK_GLOSS]
    assert not found.figures, "nobody knows what a clip shows"


def test_rates_per_sign_and_per_gloss() -> None:
    signs = [
        _sign("1230", "A"), _sign("1320", "A"), _sign("2130", "A"),  # 2 of 3
        _sign("1023", "B"),  # 0 of 1
        _sign("1230", "unknown"), _sign("bad", "C"),
    ]  # fmt: skip
    found = name_signs(Fake(), [Request("test.jsonl", "first", signs)])
    (one,) = found.figures
    assert (one["language"], one["num_signs"], one["num_unknown"], one["num_failed"]) == ("first", 4, 1, 1)
    assert (one["top1"], one["class_top1"], one["num_classes"]) == (0.5, pytest.approx((2 / 3 + 0) / 2), 2)
    assert (one["top5"], one["class_top5"]) == (1.0, 1.0)
    assert len(found.rows) == 5
    assert [problem["reason"] for problem in found.problems] == ["broken"]


def test_rates_where_nothing_is_known() -> None:
    rates = score(np.zeros((1, 2), np.float32), GLOSSES["second"], [_sign("1", "A")], {})
    assert rates == {"num_signs": 0, "num_unknown": 1, "num_failed": 0}


def test_a_dictionary_of_another_name_is_scored_only_on_request() -> None:
    request = Request("csl.jsonl", "csl", [_sign("1230", "A")])
    found = name_signs(Fake(), [request])
    assert not found.figures
    assert "is none of first, second; not scored, give --language NAME" in found.notes[0]
    found = name_signs(Fake(), [request], languages=["first"])
    assert [(one["own_language"], one["language"], one["top1"]) for one in found.figures] == [("csl", "first", 1.0)]
    assert set(found.rows[0]["best"]) == {"first"}


def test_signs_of_the_training_are_told() -> None:
    signs = [_sign("1230", "A")]
    assert not name_signs(Fake(), [Request("a", "first", signs, sha256="e" * 64)]).notes
    (note,) = name_signs(Fake(), [Request("a", "first", signs, sha256="f" * 64)]).notes
    assert note == "a: the model was trained on most of these signs; its rates mean little"


def test_a_limit_counts_over_all_arguments() -> None:
    requests = [Request("a", "first", [_sign("1230", "A")] * 3), Request("b", "first", [_sign("2130", "B")] * 3)]
    found = name_signs(Fake(), requests, limit=4)
    assert [row["source"] for row in found.rows] == ["a", "a", "a", "b"]
    assert [one["num_signs"] for one in found.figures] == [3, 1]


def test_tables_and_clips_are_told_apart(tmp_path: Path) -> None:
    assert [is_table(name) for name in ("a.parquet", "a.jsonl.gz", "A.JSONL", "a.mp4", "folder")] == [
        *(True, True, True, False, False),
    ]
    with pytest.raises(UserError, match="no such file"):
        request_of_table(str(tmp_path / "none.parquet"))
    assert "none.mp4" in request_of_clip(str(tmp_path / "none.mp4")).problem
    write_video(tmp_path / "a.mp4", np.zeros((7, 3, 16, 16), dtype=np.uint8), fps=25.0)
    (sign,) = request_of_clip(str(tmp_path / "a.mp4")).signs
    assert (sign.clip.kind, sign.clip.num_frames, sign.clip.rate_hz, sign.gloss) == ("video", 7, 25.0, "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    trunk = {"dim": 16, "group_dim": 8, "num_blocks": 1, "num_heads": 2}
    config: dict[str, Any] = {
        "trunk_kind": "slr.keypoint_conformer",
        "trunk": trunk,
        "num_classes": {name: len(glosses) for name, glosses in GLOSSES.items()},
    }
    info = {
        "name": "tiny", "rate_hz": 25.0, "window_frames": 16, "temperatures": dict.fromkeys(GLOSSES, 1.0),
        "glosses": {name: list(glosses) for name, glosses in GLOSSES.items()}, "sources": {}, "reads": "keypoints",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("run") / "tiny"
    bundle.save(folder, kind=ISOLATED_KIND, model=IsolatedSigns(**config), config=config, info=info)
    return folder


@pytest.fixture
def data(tmp_path: Path, write_pose: Any) -> Path:
    """Two clips, a manifest of three signs, of which one is broken, and a table of segments of the first clip."""
    for number in (1, 2):
        write_pose(tmp_path / f"{number}.pose", [number, 3])
    (tmp_path / "3.pose").write_bytes(b"no pose")
    clips = [
        Clip(
            id=f"c{n}", path=str(tmp_path / f"{n}.pose"), kind="pose", num_frames=20, rate_hz=25.0, text="ABC"[n - 1],
            language="first",
        )
        for n in (1, 2, 3)
    ]  # fmt: skip
    manifest.write(tmp_path / "signs.jsonl.gz", clips)
    header = SegmentsHeader(
        "corpus", "second", str(tmp_path / "signs.jsonl.gz"), manifest.file_hash(tmp_path / "signs.jsonl.gz"), "m",
        "0" * 64, 25.0, 4,
    )  # fmt: skip
    rows = [
        Segment("corpus", "c1", 0, "X", 0, 9, 0.9, 0.8, False, 2, True),
        Segment("corpus", "c1", -1, BLANK_GLOSS, 9, 12, 0.9, 0.8, False, 2, True),
        Segment("corpus", "c1", 1, "Y", 12, 20, 0.9, 0.8, True, 2, True),
    ]
    write_segments(tmp_path / "segments.parquet", header, rows)
    return tmp_path


def _slr(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("islr", epilog=islr.EXAMPLES)(islr.islr)
    monkeypatch.setattr("sys.argv", ["slr", "islr", *map(str, arguments), "--device", "cpu", "-q"])
    return command.run(app)


def test_a_manifest_and_a_table(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = (data / "signs.jsonl.gz", data / "segments.parquet", data / "1.pose")
    assert _slr(monkeypatch, *inputs, "--model", run, "--json", "-k", 3) == command.EXIT_SOME_FAILED
    found = json.loads(capsys.readouterr().out)
    assert [(row["clip"], row["gloss"]) for row in found["signs"]] == [
        *(("c1", "A"), ("c2", "B"), ("c1", "X"), ("c1", "Y"), (str(data / "1.pose"), "")),
    ]
    assert [(row["start_seconds"], row["end_seconds"]) for row in found["signs"][2:4]] == [(0.0, 0.36), (0.48, 0.8)]
    manifest_figures, table_figures = found["figures"]
    assert (manifest_figures["num_signs"], manifest_figures["num_failed"]) == (2, 1)
    assert (table_figures["language"], table_figures["num_signs"], table_figures["num_unknown"]) == ("second", 1, 1)
    assert [problem["clip"] for problem in found["problems"]] == ["c3"]
    whole = {one["gloss"]: one["probability"] for one in found["signs"][0]["best"]["first"]}
    seen = IsolatedRecognizer.load(run, device="cpu").see(request_of_clip(str(data / "1.pose")).signs)
    expected = np.exp(seen.log_probs["first"][0])
    assert whole == pytest.approx({GLOSSES["first"][c]: expected[c] for c in np.argsort(-expected)[:3]}, abs=1e-5)


def test_text_and_out(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _slr(monkeypatch, data / "segments.parquet", "--model", run, "-l", "second", "-k", 1) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first.split("\t")[:3] == ["c1", "0.00-0.36", "X"]
    assert second.split("\t")[3].startswith("second: ")
    assert summary.startswith(f"{data / 'segments.parquet'}, second: top-1 ")
    assert summary.endswith("1 signs of 1 glosses (1 of glosses it doesn't have, 0 not read)")
    assert _slr(monkeypatch, data / "signs.jsonl.gz", "--model", run, "--out", data / "named.json") == 3
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1, "the signs are in the file"
    assert captured.err.startswith("not named: c3 at 0.00 s: ")
    assert len(json.loads((data / "named.json").read_text())["signs"]) == 2


def test_a_folder(run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _slr(monkeypatch, data, "--model", run) == command.EXIT_SOME_FAILED
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()] == [str(data / "1.pose"), str(data / "2.pose")]
    assert captured.err.startswith(f"not named: {data / '3.pose'} at 0.00 s: ")


def test_what_is_refused(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> str:
        assert _slr(monkeypatch, *arguments) == command.EXIT_FAILED
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return str(lines[0])

    assert "knows no language 'third'; it has first, second" in refused(data / "1.pose", "--model", run, "-l", "third")
    assert "no such file" in refused(data / "none.jsonl.gz", "--model", run)
    assert "not named" in refused(data / "3.pose", "--model", run)
    other = data / "other"
    bundle.save(other, kind="slr.pose_conv", model=torch.nn.Linear(1, 1), config={}, info={})
    assert "a model of kind 'slr.pose_conv', not 'slr.isolated'" in refused(data / "1.pose", "--model", other)
    sentences = [Clip(id="s", path="x.pose", kind="pose", text="A B")]
    manifest.write(data / "sentences.jsonl", sentences)
    assert "has 2 glosses" in refused(data / "sentences.jsonl", "--model", run)


def test_recognize_refuses_a_model_of_isolated_signs(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["slr", "recognize", str(data / "1.pose"), "--model", str(run), "-q"])
    assert command.run(cli.app) == command.EXIT_FAILED
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "names single signs, not the signs of a sentence; use `slr islr --model`" in lines[0]
