"""`slr spot` from clips to the dictionary: every window by hand, splits, broken clips, killed runs, other inputs."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from signwave import bundle, command, manifest
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from signwave.media.video import write_video
from slr.commands import spot as spot_command
from slr.crosslingual.segments import BLANK_GLOSS, read_segments
from slr.crosslingual.signs import load_signs
from slr.isolated.infer import IsolatedRecognizer
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND
from slr.reading import Needs
from slr.spotting import stage
from slr.spotting.splits import UNNAMED, choose, parse_splits, split_of
from slr.spotting.spotter import NUM_BINS, Spotter
from slr.spotting.stage import spot_manifests
from slr.spotting.suppression import Suppression, spans_of_classes
from slr.training.data import read_clip

GLOSSES = {"dgs": ["<blank>", "A", "B", "C"], "csl": ["<blank>", "X", "Y", "Z", "W"]}
CONFIG: dict[str, Any] = {
    "trunk_kind": "slr.keypoint_conformer",
    "trunk": {"dim": 16, "group_dim": 8, "num_blocks": 1, "num_heads": 2},
    "num_classes": {name: len(glosses) for name, glosses in GLOSSES.items()},
    "classifier": "linear",
}
INFO: dict[str, Any] = {
    "name": "tiny", "rate_hz": 25.0, "window_frames": 16, "temperatures": {"dgs": 0.5, "csl": 2.0},
    "glosses": GLOSSES, "sources": {},
}  # fmt: skip
RULES = Suppression(threshold=0.35, merge_frames=2, suppress_frames=6)
NUM_FRAMES = (60, 36, 8, 48, 24)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, write_pose: Any) -> Path:
    """A run folder with a model of two languages that was never trained, but whose classes part what it sees."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("run")
    model = IsolatedSigns(**CONFIG).eval()
    path = write_pose(folder / "some.pose", range(12), frames_each=4)
    points = read_clip(Clip(id="x", path=str(path), kind="pose"), needs=Needs("keypoints", 25.0)).inputs
    windows = torch.from_numpy(np.stack([points[start : start + 16] for start in range(33)]))
    with torch.no_grad():
        seen = model(windows, torch.full((33,), 16)).whole["main"]
        for layer in model.classifiers["main"]:
            layer.weight.copy_(torch.randn_like(layer.weight) / seen.std(0))
            layer.bias.copy_(-layer.weight @ seen.mean(0))
    bundle.save(folder / "bundle", kind=ISOLATED_KIND, model=model, config=CONFIG, info=INFO)
    return folder


@pytest.fixture(scope="module")
def recognizer(run: Path) -> IsolatedRecognizer:
    return IsolatedRecognizer.load(run, device="cpu")


@pytest.fixture
def corpus(tmp_path: Path, write_pose: Any) -> Path:
    """A manifest of five clips; the third is shorter than a window."""
    folder = tmp_path / "made"
    clips = []
    for number, size in enumerate(NUM_FRAMES):
        shapes = [number + place for place in range(size // 4)]
        write_pose(folder / f"{number}.pose", shapes, frames_each=4)
        clips.append(
            Clip(id=f"c{number}", path=f"{number}.pose", kind="pose", num_frames=size, rate_hz=25.0, split="train")
        )  # fmt: skip
    manifest.write(folder / "train.jsonl.gz", clips)
    return folder / "train.jsonl.gz"


def _rewrite(corpus: Path, name: str = "", **changes: Any) -> Path:
    """The manifest with other values; a new one beside it where a name is given."""
    clips = [dataclasses.replace(clip.seen_from(corpus.parent), **changes) for clip in manifest.read(corpus)]
    path = corpus.with_name(name) if name else corpus
    manifest.write(path, clips)
    return path


def _spot(recognizer: IsolatedRecognizer, paths: Any, out: Path, **options: Any) -> stage.SpotReport:
    return spot_manifests(recognizer, paths, out, **{"language": "csl", "rules": RULES, **options})


def test_spans_are_those_of_windows_one_by_one(recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path) -> None:
    report = _spot(recognizer, [corpus], tmp_path / "spots.parquet")
    rows = read_segments(tmp_path / "spots.parquet").rows
    expected, num_windows, best = [], 0, []
    for clip in manifest.read(corpus):
        points = read_clip(clip, needs=recognizer.needs).inputs
        starts = list(range(max(1, len(points) - 15)))
        windows = [np.stack([points[min(start + i, len(points) - 1)] for i in range(16)]) for start in starts]
        with torch.no_grad():
            probs = [
                torch.softmax(
                    recognizer.model.probabilities(
                        recognizer.model(torch.from_numpy(one)[None], torch.tensor([16])).whole, "csl"
                    )[0]
                    / 2.0,
                    0,
                ).numpy()
                for one in windows
            ]
        found = spans_of_classes(np.log(np.stack(probs)), np.array(starts), window_frames=16, rules=RULES)
        expected += [
            (clip.id, GLOSSES["csl"][label], span.start, min(span.end, len(points)), span.num_windows)
            for label, span in found
        ]
        num_windows += len(windows)
        best += [float(one.max()) for one in probs]
    assert [(row.clip, row.gloss, row.start_frame, row.end_frame, row.num_steps) for row in rows] == expected
    assert report.num_windows == num_windows
    assert report.num_sure == sum(value > RULES.threshold for value in best)
    np.testing.assert_array_equal(report.histogram, np.histogram(best, bins=NUM_BINS, range=(0, 1))[0])
    assert len({row.gloss for row in rows}) > 1, "the untrained model must see several signs, or nothing is tested"
    for row in rows:
        assert RULES.threshold < row.min_posterior <= row.mean_posterior + 1e-6 <= 1 + 1e-5
        assert row.grown == (row.num_steps > 1)
    signs = [row for row in rows if row.gloss != BLANK_GLOSS]
    assert [row.index for row in rows if row.gloss == BLANK_GLOSS] == [-1] * report.num_blanks
    assert report.num_spans == len(signs) == sum(report.counts.values())
    assert report.seconds == pytest.approx(sum(row.end_frame - row.start_frame for row in signs) / 25)


def test_the_table_is_a_dictionary(recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path) -> None:
    _spot(recognizer, [corpus], tmp_path / "spots.parquet", corpus="mine")
    table = read_segments(tmp_path / "spots.parquet")
    assert (table.header.language, table.header.corpus, table.header.model) == ("csl", "mine", "tiny")
    assert table.header.model_sha256 == recognizer.digest
    signs = load_signs(tmp_path / "spots.parquet", name="target")
    assert [sign.gloss for sign in signs.signs] == [row.gloss for row in table.rows]
    assert {sign.clip.id for sign in signs.signs} <= {clip.id for clip in manifest.read(corpus)}
    without = _spot(recognizer, [corpus], tmp_path / "other.parquet", with_blanks=False)
    assert without.num_blanks == 0
    assert {row.gloss for row in read_segments(tmp_path / "other.parquet").rows} <= set("XYZW")


def test_how_many_windows_are_looked_at_together_changes_nothing(
    recognizer: IsolatedRecognizer, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = next(manifest.read(corpus))
    reading = read_clip(clip, needs=recognizer.needs)
    whole, starts = Spotter(recognizer, "csl", RULES).log_probs(reading)
    monkeypatch.setattr("slr.spotting.spotter._OTHERS_AT_ONCE", 16 * 7)
    parts, same = Spotter(recognizer, "csl", RULES).log_probs(reading)
    np.testing.assert_array_equal(starts, same)
    np.testing.assert_allclose(whole, parts, atol=1e-4)
    assert starts.tolist() == list(range(60 - 15))


# Splits


def test_only_training_clips_are_used(
    recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["train", "dev", "test", "train", "val"]
    clips = [
        dataclasses.replace(clip.seen_from(corpus.parent), split=split)
        for clip, split in zip(manifest.read(corpus), names, strict=True)
    ]
    manifest.write(corpus, clips)
    report = _spot(recognizer, [corpus], tmp_path / "spots.parquet")
    assert report.num_refused == {"dev": 2, "test": 1}
    assert report.num_clips == 2
    assert {row.clip for row in read_segments(tmp_path / "spots.parquet").rows} <= {"c0", "c3"}
    assert not caplog.records
    every = _spot(recognizer, [corpus], tmp_path / "all.parquet", splits=("train", "dev", "test"))
    assert (every.num_clips, every.num_refused) == (5, {})
    assert "signs are spotted in dev and test too" in caplog.text
    assert "has seen what it is measured on" in caplog.text


def test_which_split_a_clip_is_of() -> None:
    clip = Clip(id="a", path="a", kind="pose")
    assert split_of(clip, "data/train.jsonl.gz") == "train"
    assert split_of(clip, "data/validation.jsonl") == "dev"
    assert split_of(clip, "data/clips.jsonl.gz") == UNNAMED
    assert split_of(dataclasses.replace(clip, split="val"), "data/train.jsonl.gz") == "dev", "the row knows better"
    assert split_of(dataclasses.replace(clip, split="isharah-si"), "train.jsonl") == "isharah-si"
    assert parse_splits("train, val") == ("train", "dev")
    for wrong in ("train,all", ""):
        with pytest.raises(UserError, match="is no split; allowed are train, dev, test, unnamed"):
            parse_splits(wrong)


def test_clips_of_no_training_split_are_refused(recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path) -> None:
    dev = _rewrite(corpus, "dev.jsonl.gz", split="")
    with pytest.raises(UserError, match=r"no clip of train \(5 of dev\); --splits says which may be used"):
        _spot(recognizer, [dev], tmp_path / "spots.parquet")
    assert not list(tmp_path.glob("spots*"))


def test_several_manifests_become_one(recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path) -> None:
    more = [
        dataclasses.replace(clip.seen_from(corpus.parent), id=f"-{clip.id}", split="") for clip in manifest.read(corpus)
    ]
    other = corpus.with_name("train.jsonl")
    manifest.write(other, more)
    out = tmp_path / "out" / "spots.parquet"
    both = _spot(recognizer, [corpus, other], out)
    alone = _spot(recognizer, [corpus], tmp_path / "alone.parquet")
    assert (both.num_clips, both.num_spans) == (10, 2 * alone.num_spans)
    signs = load_signs(out).signs
    assert {sign.clip.id[0] for sign in signs} == {"c", "-"}
    assert all(Path(sign.clip.path).is_file() for sign in signs)
    assert _spot(recognizer, [corpus, other], out).is_old
    with pytest.raises(ArtefactError, match="another manifest"):
        _spot(recognizer, [other, corpus], out)
    assert len(load_signs(out).signs) == len(signs), "the refused call left the clips of the table as they were"
    with pytest.raises(UserError, match=r"clip 'c0' is there a second time"):
        _spot(recognizer, [corpus, corpus], tmp_path / "twice.parquet")


def test_a_limit_counts_clips_that_are_used(corpus: Path) -> None:
    chosen = choose([corpus], ("train",), limit=2)
    assert [clip.id for clip in chosen.clips] == ["c0", "c1"]


# What can't be read, what is done already


def test_broken_clips_are_named_and_the_rest_is_done(
    recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path
) -> None:
    whole = _spot(recognizer, [corpus], tmp_path / "whole.parquet")
    (corpus.parent / "1.pose").write_bytes(b"no pose")
    (corpus.parent / "3.pose").unlink()
    report = _spot(recognizer, [corpus], tmp_path / "spots.parquet")
    assert set(report.problems) == {"c1", "c3"}
    assert all("\n" not in reason for reason in report.problems.values())
    left = [row for row in read_segments(tmp_path / "whole.parquet").rows if row.clip not in report.problems]
    assert read_segments(tmp_path / "spots.parquet").rows == left
    assert report.num_windows < whole.num_windows
    for path in corpus.parent.glob("*.pose"):
        path.write_bytes(b"no pose")
    with pytest.raises(UserError, match=r"none of 5 clips could be read; the first, 'c0': .*0\.pose"):
        _spot(recognizer, [corpus], tmp_path / "none.parquet")
    assert not list(tmp_path.glob("none*"))


def test_nothing_sure_is_an_error(recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none shows a sign with a probability above 0\.999; lower --threshold"):
        _spot(recognizer, [corpus], tmp_path / "none.parquet", rules=Suppression(threshold=0.999))


def test_a_killed_run_goes_on_where_it_was(
    recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _spot(recognizer, [corpus], tmp_path / "whole.parquet")
    monkeypatch.setattr(stage, "CLIPS_A_PART", 2)
    out = tmp_path / "spots.parquet"
    look, looked = Spotter.log_probs, []

    def dying(self: Spotter, reading: Any) -> Any:
        looked.append(len(reading.inputs))
        if len(looked) == 4:
            raise KeyboardInterrupt
        return look(self, reading)

    monkeypatch.setattr(Spotter, "log_probs", dying)
    with pytest.raises(KeyboardInterrupt):
        _spot(recognizer, [corpus], out)
    assert not out.exists(), "partial results are never mistaken for complete ones"
    assert not out.with_name("spots.parquet.report.json").exists()
    with pytest.raises(ArtefactError, match=r"unfinished work with another threshold \(0\.35, not 0\.5\)"):
        _spot(recognizer, [corpus], out, rules=Suppression(threshold=0.5))
    looked.extend([0] * 4)
    report = _spot(recognizer, [corpus], out)
    assert looked[8:] == [8, 48, 24], "clips of the finished part aren't looked at again"
    assert read_segments(out).rows == read_segments(tmp_path / "whole.parquet").rows
    assert dataclasses.replace(report, out="") == dataclasses.replace(whole, out="")
    assert not list(tmp_path.glob("*.parts"))


def test_a_table_is_never_replaced_by_another_unasked(
    recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "spots.parquet"
    first = _spot(recognizer, [corpus], out)
    again = _spot(recognizer, [corpus], out)
    assert again.is_old
    assert dataclasses.replace(again, is_old=False) == first
    for change, what in (
        ({"language": "dgs"}, "another language"),
        ({"rules": Suppression(threshold=0.4)}, "another threshold"),
        ({"limit": 3}, "another limit"),
        ({"splits": ("train", "dev")}, "another splits"),
    ):
        with pytest.raises(ArtefactError, match=f"holds segments of {what}"):
            _spot(recognizer, [corpus], out, **change)
    replaced = _spot(recognizer, [corpus], out, limit=3, overwrite=True)
    assert (replaced.num_clips, replaced.is_old) == (3, False)
    out.with_name("spots.parquet.report.json").unlink()
    with pytest.raises(ArtefactError, match=r"report\.json: is missing or damaged; give --overwrite"):
        _spot(recognizer, [corpus], out, limit=3)


def test_nan_is_an_error(recognizer: IsolatedRecognizer, corpus: Path, tmp_path: Path) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(recognizer, name)

        def look(self, windows: Any, *, points: Any = None) -> Any:
            embeddings, found = recognizer.look(windows, points=points)
            found["csl"][0, 1] = np.nan
            return embeddings, found

    with pytest.raises(ArtefactError, match="tiny: gives NaN for clip 'c0'"):
        _spot(Broken(), [corpus], tmp_path / "spots.parquet")  # type: ignore[arg-type]


def test_two_streams_need_keypoints(tmp_path: Path, write_pose: Any) -> None:
    """Windows of both streams are of the same frames; a clip without keypoints is named."""
    greys = np.arange(24, dtype=np.uint8)[:, None, None, None] * 4
    asked: list[Any] = []

    class Both:
        name, digest, languages, window_frames = "both", "0" * 64, ("dgs",), 16
        needs = Needs("frames+keypoints", 25.0, (16, 16))

        def glosses(self, language: str) -> tuple[str, ...]:
            return tuple(GLOSSES[language])

        def look(self, windows: Any, *, points: Any = None) -> Any:
            asked.append((windows, points))
            return None, {"dgs": np.log(np.full((len(windows), 4), [0.05, 0.85, 0.05, 0.05], dtype=np.float32))}

    clips = []
    for name in ("with", "without"):
        path = write_video(tmp_path / f"{name}.mp4", np.broadcast_to(greys, (24, 3, 16, 16)), fps=25.0, crf=0)
        clips.append(Clip(id=name, path=str(path), kind="video", num_frames=24, rate_hz=25.0, split="train"))
    write_pose(tmp_path / "with.pose", [1, 2, 3], frames_each=8)
    found, problem = Spotter(Both(), "dgs", RULES)(clips, corpus="made")
    assert problem.problem.endswith("two streams need them; prepare the corpus with --poses")
    assert [(row.gloss, row.start_frame, row.end_frame) for row in found.segments] == [("A", 0, 18), ("A", 7, 24)]
    ((windows, points),) = asked
    assert windows.shape == (9, 16, 3, 16, 16)
    assert points.shape == (9, 16, 63, 3)
    grey = windows.float().mean((2, 3, 4)) / 4
    assert (grey - (torch.arange(9)[:, None] + torch.arange(16))).abs().max() < 1


# The command


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("spot")(spot_command.spot)
    monkeypatch.setattr(sys, "argv", ["slr", "spot", *map(str, arguments)])
    return command.run(app)


def test_the_command_tells_what_it_found(
    run: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, picture = tmp_path / "spots.parquet", tmp_path / "spots.png"
    options = ("-l", "csl", "--threshold", 0.35, "--suppress-frames", 6, "--device", "cpu")
    assert _call(monkeypatch, run, corpus, out, *options, "--report", picture) == command.EXIT_DONE
    told = capsys.readouterr().out
    rows = read_segments(out).rows
    assert f"{out}: {sum(row.index >= 0 for row in rows)} spans of " in told
    assert picture.read_bytes().startswith(b"\x89PNG")
    (corpus.parent / "1.pose").write_bytes(b"no pose")
    code = _call(monkeypatch, run, corpus, tmp_path / "b.parquet", *options, "--json", "-q")
    shown = capsys.readouterr()
    assert code == command.EXIT_SOME_FAILED
    assert set(json.loads(shown.out)["problems"]) == {"c1"}
    assert "not read: c1: " in shown.err
    other = _rewrite(corpus, "test.jsonl.gz", split="test")
    assert _call(monkeypatch, run, corpus, other, out.with_name("two.parquet"), *options, "-q") == 3
    assert "; left out by split: 5 of test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("-l", "bsl"), "tiny knows no language 'bsl'; give --language, one of dgs, csl"),
        ((), "tiny knows several languages; give --language, one of dgs, csl"),
        (("-l", "csl", "--merge-frames", "25"), "--merge-frames 25 must not be above --suppress-frames 24"),
        (("-l", "csl", "--splits", "all"), "--splits all: 'all' is no split"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: tuple[str, ...],
    problem: str,
    run: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _call(monkeypatch, run, corpus, tmp_path / "s.parquet", *options, "--device", "cpu") == command.EXIT_FAILED
    shown = capsys.readouterr().err
    assert problem in shown
    assert shown.count("\n") == 1
    code = _call(monkeypatch, run, corpus, tmp_path / "s.csv", "-l", "csl", "--device", "cpu")
    assert code == command.EXIT_FAILED
    assert "the table is a Parquet file" in capsys.readouterr().err
