"""Measurements survive a kill at any byte, are not made twice, and never mix with those of other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr.curation.journal import Journal
from signwave.errors import ArtefactError, ConfigError


def row(name: str, size: int = 1, failure: Any = None) -> dict[str, Any]:
    return {"file": name, "size": size, "mtime_ns": 5, "segments": [{"snr_db": 3.0}], "failure": failure}


def fill(folder: Path, *rows: dict[str, Any]) -> Journal:
    journal = Journal(folder, {"voice": "energy"})
    with journal.appending() as writer:
        for item in rows:
            writer.add(item)
    return journal


def test_the_last_line_about_a_file_counts_and_equal_ones_are_not_repeated(tmp_path: Path) -> None:
    fill(tmp_path, row("b"), row("a"), row("b", 2), row("b", 2))
    assert len((tmp_path / "measured.jsonl").read_text().splitlines()) == 3
    journal = fill(tmp_path, row("a"))
    assert journal.rows == [row("a"), row("b", 2)]
    assert len((tmp_path / "measured.jsonl").read_text().splitlines()) == 3
    assert journal.is_done(row("a"))
    assert not journal.is_done(row("b"))
    assert not journal.is_done(row("c"))
    journal.keep_only({"a"})
    assert journal.rows == [row("a")]


def test_failures_are_tried_again(tmp_path: Path) -> None:
    failed = row("a", failure={"kind": "unreadable", "message": "a: no"})
    assert not fill(tmp_path, failed).is_done(failed)


def test_a_torn_last_line_is_cut_off_at_every_byte(tmp_path: Path) -> None:
    fill(tmp_path, row("a"), row("b"))
    path = tmp_path / "measured.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        journal = Journal(tmp_path, {"voice": "energy"})
        assert [item["file"] for item in journal.rows] == ["a"]
        with journal.appending() as writer:
            writer.add(row("b"))
        assert path.read_bytes() == whole


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    fill(tmp_path, row("a"), row("b"))
    path = tmp_path / "measured.jsonl"
    path.write_bytes(b"{broken\n" + path.read_bytes())
    with pytest.raises(ArtefactError, match=r"measured\.jsonl:1: not a measurement"):
        Journal(tmp_path, {"voice": "energy"})


def test_other_settings_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, row("a"))
    assert Journal.is_in(tmp_path)
    assert Journal.settings_in(tmp_path) == {"voice": "energy"}
    with pytest.raises(ConfigError, match="voice='energy' and not 'silero'"):
        Journal(tmp_path, {"voice": "silero"})
