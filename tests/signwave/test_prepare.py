"""The prepare driver: order, problems with their places, exit codes, limits, atomic output."""

import gzip
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from signwave import manifest
from signwave.errors import MediaError, UserError
from signwave.manifest import Clip
from signwave.prepare import PrepareReport, Problem, Row, run_prepare


def clip(name: str, *, split: str = "train", text: str = "a b") -> Clip:
    return Clip(id=name, path=f"{name}.wav", kind="audio", num_frames=16_000, rate_hz=16_000.0, text=text, split=split)


def rows(*names: str, split: str = "train") -> list[Row]:
    return [Row(clip(name, split=split), f"list.tsv:{line}") for line, name in enumerate(names, 2)]


def prepare(items: object, out_dir: Path, **options: object) -> PrepareReport:
    return run_prepare(items, out_dir, show_progress=False, **options)  # type: ignore[arg-type]


def test_writes_one_manifest_per_split_with_absolute_paths(tmp_path: Path) -> None:
    report = prepare([*rows("a", "b"), *rows("c", split="test"), Clip(id="d", path="d.wav", kind="audio")], tmp_path)
    assert {name: split.num_clips for name, split in report.splits.items()} == {"train": 2, "test": 1, "all": 1}
    assert report.exit_code == 0
    train = list(manifest.read(tmp_path / "train.jsonl.gz"))
    assert [c.id for c in train] == ["a", "b"]
    assert all(Path(c.path).is_absolute() for c in train)
    assert report.splits["train"].content_hash == manifest.content_hash(train)
    assert report.splits["train"].hours == pytest.approx(2 / 3600)
    assert json.loads((tmp_path / "prepare.json").read_text())["num_clips"] == 4
    assert (tmp_path / "problems.jsonl").read_text() == ""


def test_the_check_completes_or_refuses_and_never_stops_the_rest(tmp_path: Path) -> None:
    def check(item: Clip) -> Clip | Problem:
        if item.id == "b":
            raise MediaError(item.path, "is damaged", kind="truncated")
        if item.id == "c":
            return Problem("", "holds no audio", "empty")
        return replace(item, num_frames=8_000)

    report = prepare(rows("a", "b", "c", "d"), tmp_path, check=check, num_workers=2)
    assert [c.num_frames for c in manifest.read(tmp_path / "train.jsonl.gz")] == [8_000, 8_000]
    assert report.exit_code == 3
    assert [str(p) for p in report.problems] == ["list.tsv:3: b.wav: is damaged", "list.tsv:4: holds no audio"]
    assert report.to_dict()["problem_counts"] == {"truncated": 1, "empty": 1}
    stored = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert [p["where"] for p in stored] == ["list.tsv:3", "list.tsv:4"]
    assert "left out 2: truncated 1, empty 1" in report.summary()


def die_on_b(given: Clip) -> Clip:
    if given.id == "b":
        os.kill(os.getpid(), signal.SIGSEGV)
    return replace(given, text="checked")


def test_a_decoder_that_crashes_costs_one_row(tmp_path: Path) -> None:
    report = prepare(rows("a", "b", "c"), tmp_path, check=die_on_b, isolate=True)
    assert [(p.where, p.reason.split(": ", 1)[1]) for p in report.problems] == [
        ("list.tsv:3", "the decoder crashed on it (signal SIGSEGV); leave it out")
    ]
    assert [(c.id, c.text) for c in manifest.read(tmp_path / "train.jsonl.gz")] == [("a", "checked"), ("c", "checked")]
    assert report.exit_code == 3


def test_order_is_kept_whatever_the_checks_take(tmp_path: Path) -> None:
    gate = threading.Event()

    def check(item: Clip) -> Clip:
        if item.id == "0":
            assert gate.wait(5)
        if item.id == "5":
            gate.set()
        return item

    names = [str(i) for i in range(30)]
    prepare(rows(*names), tmp_path, check=check, num_workers=4)
    assert [c.id for c in manifest.read(tmp_path / "train.jsonl.gz")] == names


def test_rows_are_not_read_far_ahead_of_the_checks(tmp_path: Path) -> None:
    read, checked, furthest = 0, 0, 0

    def source() -> Iterator[Row]:
        nonlocal read, furthest
        for row in rows(*(str(i) for i in range(200))):
            read += 1
            furthest = max(furthest, read - checked)
            yield row

    def check(item: Clip) -> Clip:
        nonlocal checked
        checked += 1
        return item

    prepare(source(), tmp_path, check=check, num_workers=2)
    assert furthest <= 2 * 4 + 2


def test_problems_of_the_corpus_module_are_counted(tmp_path: Path) -> None:
    report = prepare([*rows("a"), Problem("list.tsv:9", "has no text", "no_text")], tmp_path)
    assert report.exit_code == 3
    assert report.problems == [Problem("list.tsv:9", "has no text", "no_text")]


def test_an_id_taken_twice_is_a_problem_within_a_split_only(tmp_path: Path) -> None:
    doubled = [Row(clip("a"), "list.tsv:2"), Row(clip("a"), "list.tsv:7"), Row(clip("a", split="test"), "t.tsv:2")]
    report = prepare(doubled, tmp_path)
    assert [p.kind for p in report.problems] == ["duplicate_id"]
    assert "list.tsv:7: id 'a' is already taken by list.tsv:2" in str(report.problems[0])
    assert report.num_clips == 2


def test_limit_is_per_split(tmp_path: Path) -> None:
    report = prepare([*rows("a", "b", "c"), *rows("d", "e", split="test")], tmp_path, limit=1)
    assert {name: split.num_clips for name, split in report.splits.items()} == {"train": 1, "test": 1}


def test_fail_fast_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list\.tsv:9: bad; leave out --fail-fast"):
        prepare([*rows("a"), Problem("list.tsv:9", "bad")], tmp_path / "out", fail_fast=True)
    assert not (tmp_path / "out").exists()


def test_dry_run_checks_and_writes_nothing(tmp_path: Path) -> None:
    report = prepare([*rows("a"), Problem("x:1", "bad")], tmp_path / "out", dry_run=True)
    assert (report.num_clips, report.exit_code) == (1, 3)
    assert "nothing was written" in report.summary()
    assert not (tmp_path / "out").exists()


def test_nothing_at_all_is_an_error_and_all_bad_is_exit_1(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the corpus holds no row"):
        prepare([], tmp_path)
    assert prepare([Problem("x:1", "bad")], tmp_path).exit_code == 1


def test_equal_corpora_give_equal_bytes_and_older_manifests_are_mentioned(tmp_path: Path) -> None:
    prepare(rows("a", "b"), tmp_path / "one")
    prepare(rows("a", "b"), tmp_path / "two")
    first, second = ((tmp_path / name / "train.jsonl.gz").read_bytes() for name in ("one", "two"))
    assert first == second
    assert gzip.decompress(first).count(b"\n") == 2
    report = prepare(rows("c", split="test"), tmp_path / "one")
    assert report.warnings == [
        f"{tmp_path / 'one' / 'train.jsonl.gz'} is from an earlier run; remove it if you don't need it"
    ]


def test_further_figures_and_kept_clips_reach_the_caller(tmp_path: Path) -> None:
    kept: list[str] = []
    report = prepare(
        [*rows("a", "b"), Problem("x:1", "bad")],
        tmp_path,
        on_clip=lambda item: kept.append(item.id),
        extra=lambda _: {"seen": len(kept)},
    )
    assert kept == ["a", "b"]
    assert report.to_dict()["seen"] == 2


def test_progress_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_prepare(rows("a"), tmp_path)
    assert capsys.readouterr().out == ""
