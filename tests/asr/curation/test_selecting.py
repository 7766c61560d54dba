"""Decisions come from scores alone: gates, test data, copies, caps."""

from __future__ import annotations

from typing import Any

import pytest

from asr.curation.comparing import Copy
from asr.curation.selecting import Segment, segments_of, select
from asr.curation.settings import Thresholds

GOOD = {
    "level_dbfs": -20.0, "peak": 0.5, "crest_db": 14.0, "clipped_share": 0.0, "bandwidth_hz": 7000.0, "snr_db": 30.0,
    "speech_share": 0.9, "voice": 0.9,
}  # fmt: skip


def measured(start: float = 0.0, end: float = 10.0, **scores: Any) -> dict[str, Any]:
    return {"start_seconds": start, "end_seconds": end, **GOOD, **scores}


def row(file: str, *segments: dict[str, Any], source: str = "s") -> dict[str, Any]:
    return {"file": file, "source": source, "segments": list(segments), "failure": None}


def decide(
    rows: list[dict[str, Any]],
    keep: Thresholds | None = None,
    copies: list[Copy] | None = None,
    leaks: list[Copy] | None = None,
    closeness: dict[str, float] | None = None,
) -> dict[str, Segment]:
    found = segments_of(rows, "fa", closeness or {})
    select(found, keep or Thresholds(), language="fa", copies=copies or [], leaks=leaks or [])
    return {segment.id: segment for segment in found}


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({}, None),
        ({"end": 1.9}, "short"),
        ({"speech_share": 0.5}, "little speech"),
        ({"level_dbfs": -51.0}, "quiet"),
        ({"clipped_share": 0.002}, "clipped"),
        ({"crest_db": 4.0}, "clipped"),
        ({"bandwidth_hz": 3300.0}, "narrow band"),
        ({"snr_db": 9.9}, "noisy"),
        ({"language": {"fa": 0.95, "ar": 0.05}}, None),
        ({"language": {"fa": 0.6, "ar": 0.1}}, "other language"),
        ({"language": {"ar": 0.9}}, "other language"),
        ({"language": {"fa": 0.75, "prs": 0.72}}, "other language"),
        ({"kind": {"music": 0.4, "overlap": 0.1, "laughter": 1.0}}, None),
        ({"kind": {"music": 0.6}}, "music"),
        ({"kind": {"overlap": 0.6}}, "overlap"),
    ],
)
def test_each_gate_has_its_reason(scores: dict[str, Any], reason: str | None) -> None:
    (segment,) = decide([row("a.wav", measured(**scores))]).values()
    assert segment.reasons == ([reason] if reason else [])


def test_all_reasons_are_told_once_and_all_scores_are_kept() -> None:
    bad = measured(end=1.0, snr_db=0.0, clipped_share=0.1, crest_db=1.0, kind={"music": 1.0}, language={"fa": 0.1})
    (segment,) = decide([row("a.wav", bad)], closeness={"a.wav-00000000": 0.25}).values()
    assert segment.reasons == ["short", "clipped", "noisy", "other language", "music"]
    assert segment.scores["language.fa"] == 0.1
    assert segment.scores["kind.music"] == 1.0
    assert segment.scores["closeness"] == 0.25
    assert segment.scores["seconds"] == 1.0


def test_thresholds_can_be_lowered() -> None:
    bad = measured(snr_db=3.0)
    (segment,) = decide([row("a.wav", bad)], Thresholds(min_snr_db=3.0)).values()
    assert segment.is_kept


def test_a_test_recording_inside_a_long_segment_counts_by_its_own_length() -> None:
    rows = [row("a.wav", measured(0, 30), measured(40, 50), measured(60, 70))]
    leaks = [
        Copy("a.wav-00000000", "test.jsonl: t1", 0.9, 2.0, 2.5),
        Copy("a.wav-00000000", "test.jsonl: t2", 0.95, 2.0, 2.5),
        Copy("a.wav-00040000", "test.jsonl: t1", 0.79, 2.0, 2.5),
        Copy("a.wav-00060000", "test.jsonl: long", 0.9, 1.0, 10.0),
        Copy("gone", "test.jsonl: t1", 0.9, 2.0, 2.5),
    ]
    found = decide(rows, leaks=leaks)
    assert found["a.wav-00000000"].reasons == ["in dev or test"]
    assert found["a.wav-00000000"].copy_of == ["test.jsonl: t1", "test.jsonl: t2"]
    assert found["a.wav-00040000"].is_kept
    assert found["a.wav-00060000"].is_kept


def test_of_copies_the_longest_then_the_cleanest_is_kept() -> None:
    rows = [
        row("long.wav", measured(0, 20)),
        row("part.wav", measured(0, 5)),
        row("clean.wav", measured(0, 8, snr_db=40.0)),
        row("noisy.wav", measured(0, 8, snr_db=12.0)),
        row("jingle.wav", measured(0, 19)),
    ]
    copies = [
        Copy("long.wav-00000000", "part.wav-00000000", 0.9, 4.9, 5.0),
        Copy("clean.wav-00000000", "noisy.wav-00000000", 0.99, 8.0, 8.0),
        Copy("jingle.wav-00000000", "long.wav-00000000", 0.99, 3.0, 19.0),
    ]
    found = decide(rows, copies=copies)
    assert {s.file: s.copy_of for s in found.values() if not s.is_kept} == {
        "part.wav": ["long.wav-00000000"],
        "noisy.wav": ["clean.wav-00000000"],
    }
    assert decide(rows, Thresholds(duplicate_score=0.95), copies=copies)["part.wav-00000000"].is_kept


def test_a_copy_of_what_is_not_kept_is_kept() -> None:
    rows = [row("bad.wav", measured(0, 20, snr_db=1.0)), row("good.wav", measured(0, 5))]
    copies = [Copy("bad.wav-00000000", "good.wav-00000000", 0.99, 5.0, 5.0)]
    assert decide(rows, copies=copies)["good.wav-00000000"].is_kept


def test_caps_take_the_closest_first_and_count_by_source() -> None:
    rows = [row(f"{source}/{number}.wav", measured(0, 36), source=source) for source in "ab" for number in range(5)]
    closeness = {f"{source}/{number}.wav-00000000": 0.1 * number for source in "ab" for number in range(5)}
    found = decide(rows, Thresholds(max_hours_per_source=0.03), closeness=closeness)
    assert sorted(s.file for s in found.values() if s.is_kept) == [f"{s}/{n}.wav" for s in "ab" for n in (2, 3, 4)]
    assert {s.reasons[0] for s in found.values() if not s.is_kept} == {"enough of its source"}
    found = decide(rows, Thresholds(max_hours_per_source=0.03, max_hours=0.02), closeness=closeness)
    assert sorted(s.file for s in found.values() if s.is_kept) == ["a/4.wav", "b/4.wav"]
    assert (
        "far from the domain"
        in decide(rows, Thresholds(min_closeness=0.15), closeness=closeness)["a/1.wav-00000000"].reasons
    )


def test_without_closeness_a_cap_is_an_even_sample_that_does_not_change() -> None:
    rows = [row("a.wav", *(measured(40 * n, 40 * n + 36) for n in range(100)))]
    kept = [s.start_seconds for s in decide(rows, Thresholds(max_hours=0.5)).values() if s.is_kept]
    assert len(kept) == 50
    assert min(kept) < 400
    assert max(kept) > 3600
    assert kept == [s.start_seconds for s in decide(rows, Thresholds(max_hours=0.5)).values() if s.is_kept]
