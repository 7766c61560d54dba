"""Decide from scores alone which segments are kept: gates, leaks, copies, closeness, caps. No audio is opened."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from asr.curation.comparing import Copy
from asr.curation.settings import Thresholds

Row = dict[str, Any]


@dataclass(frozen=True)
class Segment:
    """A measured segment with its scores and what was decided.

    Attributes:
        id: the file below RAW and the start in milliseconds.
        file: below RAW, with /.
        source: what caps count by.
        start_seconds, end_seconds: half-open, in the file.
        scores: numbers by name; those of hooks as `language.CODE` and `kind.NAME`.
        reasons: why it is left out, the first one decided; empty = kept.
        copy_of: the segment or recording that it is a copy of, if that is why.
    """

    id: str
    file: str
    source: str
    start_seconds: float
    end_seconds: float
    scores: dict[str, float]
    reasons: list[str] = field(default_factory=list)
    copy_of: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_seconds - self.start_seconds

    @property
    def is_kept(self) -> bool:
        """True if nothing speaks against it."""
        return not self.reasons

    def to_dict(self) -> Row:
        """One line of `segments.jsonl.gz`."""
        return {
            "id": self.id, "file": self.file, "source": self.source, "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds, "scores": self.scores, "kept": self.is_kept, "reasons": self.reasons,
            "copy_of": self.copy_of,
        }  # fmt: skip


class Gate(NamedTuple):
    """A bound on one score. `lowest` says which way it points."""

    reason: str
    score: str
    bound: float
    is_lowest: bool


def gates(keep: Thresholds, language: str) -> list[Gate]:
    """The bounds on single scores, in the order in which they are named as the reason."""
    return [
        Gate("short", "seconds", keep.min_seconds, True),
        Gate("little speech", "speech_share", keep.min_speech_share, True),
        Gate("quiet", "level_dbfs", keep.min_level_dbfs, True),
        Gate("clipped", "clipped_share", keep.max_clipped_share, False),
        Gate("clipped", "crest_db", keep.min_crest_db, True),
        Gate("narrow band", "bandwidth_hz", keep.min_bandwidth_hz, True),
        Gate("noisy", "snr_db", keep.min_snr_db, True),
        Gate("other language", f"language.{language}", keep.min_language, True),
        Gate("other language", "language_margin", keep.min_language_margin, True),
        Gate("music", "kind.music", keep.max_music, False),
        Gate("overlap", "kind.overlap", keep.max_overlap, False),
        Gate("far from the domain", "closeness", keep.min_closeness, True),
    ]


def segments_of(rows: Iterable[Row], language: str, closeness: Mapping[str, float]) -> list[Segment]:
    """Measured recordings as segments without a decision.

    Args:
        rows: of the journal.
        language: the wanted one; it has the posterior 0 where an identifier doesn't name it.
        closeness: by id.
    """
    found = []
    for row in rows:
        for measured in row["segments"]:
            scores = {name: value for name, value in measured.items() if isinstance(value, int | float)}
            start, end = scores.pop("start_seconds"), scores.pop("end_seconds")
            identity = f"{row['file']}-{round(1000 * start):08d}"
            scores["seconds"] = round(end - start, 4)
            scores |= {f"kind.{name}": value for name, value in measured.get("kind", {}).items()}
            if "language" in measured:
                scores |= _language_scores(measured["language"], language)
            if identity in closeness:
                scores["closeness"] = closeness[identity]
            found.append(Segment(identity, row["file"], row["source"], start, end, dict(sorted(scores.items()))))
    return found


def _language_scores(posteriors: Mapping[str, float], language: str) -> dict[str, float]:
    mine = posteriors.get(language, 0.0)
    best_other = max((value for code, value in posteriors.items() if code != language), default=0.0)
    named = {f"language.{code}": value for code, value in {language: 0.0, **posteriors}.items()}
    return {**named, "language_margin": round(mine - best_other, 4)}


def select(
    segments: Sequence[Segment], keep: Thresholds, *, language: str, copies: Sequence[Copy], leaks: Sequence[Copy]
) -> None:
    """Decide about every segment; reasons are added in place.

    Args:
        segments: without decisions.
        keep: the thresholds.
        language: the wanted one.
        copies: pairs of segments.
        leaks: pairs of a segment and a dev or test recording.
    """
    bounds = gates(keep, language)
    for segment in segments:
        for gate in bounds:
            value = segment.scores.get(gate.score)
            if value is None or gate.reason in segment.reasons:
                continue
            if value < gate.bound if gate.is_lowest else value > gate.bound:
                segment.reasons.append(gate.reason)
    _drop_leaks(segments, leaks, keep)
    _drop_copies(segments, copies, keep)
    if keep.max_hours_per_source > 0:
        for members in _by_source(segments).values():
            _cap(members, keep.max_hours_per_source, "enough of its source")
    if keep.max_hours > 0:
        _cap(segments, keep.max_hours, "enough in all")


def _drop_leaks(segments: Sequence[Segment], leaks: Sequence[Copy], keep: Thresholds) -> None:
    """A short test clip inside a long segment is a leak too: what counts is the share of the shorter one."""
    by_id = {segment.id: segment for segment in segments}
    for leak in leaks:
        segment = by_id.get(leak.id)
        is_much = leak.shared_seconds >= keep.duplicate_share * leak.shorter_seconds
        if segment is not None and leak.score >= keep.duplicate_score and is_much:
            if "in dev or test" not in segment.reasons:
                segment.reasons.append("in dev or test")
            segment.copy_of.append(leak.other_id)


def _drop_copies(segments: Sequence[Segment], copies: Sequence[Copy], keep: Thresholds) -> None:
    """Of copies the longest is kept, of equally long ones that with the best signal to noise."""
    shared: dict[str, dict[str, float]] = defaultdict(dict)
    for pair in copies:
        if pair.score >= keep.duplicate_score:
            shared[pair.id][pair.other_id] = shared[pair.other_id][pair.id] = pair.shared_seconds
    order = sorted(segments, key=lambda s: (-round(s.seconds, 1), -s.scores.get("snr_db", 0.0), s.id))
    kept: set[str] = set()
    for segment in order:
        if not segment.is_kept:
            continue
        of = [o for o, seconds in shared[segment.id].items() if seconds >= keep.duplicate_share * segment.seconds]
        twins = sorted(kept.intersection(of))
        if twins:
            segment.reasons.append("copy")
            segment.copy_of.extend(twins)
        else:
            kept.add(segment.id)


def _by_source(segments: Sequence[Segment]) -> dict[str, list[Segment]]:
    found: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        found[segment.source].append(segment)
    return found


def _cap(segments: Sequence[Segment], hours: float, reason: str) -> None:
    """Keep the closest to the domain, or an even sample (by a hash of the id) where there is none."""

    def rank(segment: Segment) -> tuple[float, str]:
        return -segment.scores.get("closeness", 0.0), hashlib.sha256(segment.id.encode()).hexdigest()

    taken = 0.0
    for segment in sorted((s for s in segments if s.is_kept), key=rank):
        if taken + segment.seconds > 3600 * hours:
            segment.reasons.append(reason)
        else:
            taken += segment.seconds
