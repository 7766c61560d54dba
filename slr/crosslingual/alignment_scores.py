"""How well segments lie, against frames that are known: the measures of `slr align-eval`, and baselines to beat."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.metrics.bootstrap import ratio_interval
from slr.crosslingual.segments import SUFFIX, Segments, read_segments

REFERENCE_HZ = 25.0
Spans = Sequence[tuple[float, float]]


class Reference(NamedTuple):
    """Where the glosses of a clip really are.

    num_frames: of the clip.
    glosses: in order.
    spans: half-open frames of each.
    """

    num_frames: int
    glosses: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


class ClipScore(NamedTuple):
    """The N segments of a clip, or of any choice.

    shared: (N,) float64, frames of the true segment that were given to the found one.
    lengths: (N,) float64, frames of the true segments.
    overlaps: (N,) float64 in [0, 1], intersection over union.
    distances: (N, 2) float64, frames between the true and the found start, and the ends.
    """

    shared: NDArray[np.float64]
    lengths: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class AlignmentScores:
    """Measures over many clips; rates are fractions, distances frames of the reference.

    Attributes:
        frame_accuracy: share of the frames of reference segments that the same segment was found in.
        mean_overlap: mean intersection over union.
        half_overlap: share of segments with at least 0.5.
        boundary_frames: mean distance of ends, starts and ends alike.
        median_boundary_frames: the median.
        intervals: name of the measure → 95 % interval, drawn by clip.
        num_segments: how many were compared.
    """

    frame_accuracy: float
    mean_overlap: float
    half_overlap: float
    boundary_frames: float
    median_boundary_frames: float
    num_segments: int
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "intervals": {name: list(pair) for name, pair in self.intervals.items()}}


def read_reference(path: str | Path) -> dict[str, Reference]:
    """Read true segments: clip → where its glosses are.

    Args:
        path: JSON lines, packed or not, either a clip a line with "name", "num_frames", "gloss" and "segments", or a
            gloss a line with "clip", "gloss", "start_frame" and "end_frame" (tools/make_sign_corpus.py); or a table
            of `slr align`. Where the length of a clip isn't said, it ends with its last gloss.

    Raises:
        ArtefactError: the file is missing or damaged, or a line is neither.
    """
    if Path(path).suffix == SUFFIX:
        return spans_of(read_segments(path), rate_hz=None)
    found: dict[str, Reference] = {}
    rows: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for number, line in _lines(Path(path)):
        try:
            row = json.loads(line)
            if "segments" in row:
                spans = tuple((int(start), int(end)) for start, end in row["segments"])
                found[row["name"]] = Reference(int(row["num_frames"]), tuple(row["gloss"]), spans)
            else:
                rows[row["clip"]].append((row["gloss"], int(row["start_frame"]), int(row["end_frame"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{path}:{number}: is no reference ({error!r}); see `slr align-eval --help`") from error
    for name, glosses in rows.items():
        spans = tuple((start, end) for _, start, end in glosses)
        found[name] = Reference(spans[-1][1], tuple(gloss for gloss, _, _ in glosses), spans)
    uneven = [name for name, row in found.items() if len(row.glosses) != len(row.spans)]
    if uneven:
        row = found[uneven[0]]
        sizes = f"{len(row.glosses)} glosses and {len(row.spans)} segments"
        raise ArtefactError(f"{path}: clip '{uneven[0]}' has {sizes}; each gloss needs one")
    if not found:
        raise ArtefactError(f"{path}: holds no clip; give a reference with segments")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: can't be read ({error}); give a .jsonl.gz reference or a table") from error


def spans_of(table: Segments, *, rate_hz: float | None = REFERENCE_HZ) -> dict[str, Reference]:
    """The glosses of a table, clip by clip, in frames of `rate_hz`; None leaves them in its own."""
    scale = 1.0 if rate_hz is None else rate_hz / table.header.rate_hz
    found: dict[str, Reference] = {}
    for clip, rows in itertools.groupby(table.rows, key=lambda row: row.clip):
        part = list(rows)
        signs = sorted((row for row in part if row.index >= 0), key=lambda row: row.index)
        spans = tuple((round(row.start_frame * scale), round(row.end_frame * scale)) for row in signs)
        last = round(max(row.end_frame for row in part) * scale)
        found[clip] = Reference(last, tuple(row.gloss for row in signs), spans)
    return found


def matched(reference: Mapping[str, Reference], names: Sequence[str]) -> dict[str, str]:
    """Name in a table → name in the reference; a folder before the reference's name ("dev/…") is no difference."""
    short = {name.rpartition("/")[2]: name for name in reference}
    pairs = ((name, name if name in reference else short.get(name.rpartition("/")[2], "")) for name in names)
    return {name: there for name, there in pairs if there}


def score_clip(reference: Reference, spans: Spans) -> ClipScore:
    """Compare the spans of one clip, gloss by gloss; of spans that overlap, a frame belongs to the later one."""
    true = np.asarray(reference.spans, dtype=np.float64).reshape(-1, 2)
    found = np.asarray(spans, dtype=np.float64).reshape(-1, 2)
    if len(true) != len(found):
        raise ValueError(f"{len(true)} true spans and {len(found)} found")
    shared = np.clip(np.minimum(true[:, 1], found[:, 1]) - np.maximum(true[:, 0], found[:, 0]), 0, None)
    lengths = [pair[:, 1] - pair[:, 0] for pair in (true, found)]
    overlaps = shared / np.maximum(lengths[0] + lengths[1] - shared, 1e-9)
    owned = np.minimum(found[:, 1], np.append(found[1:, 0], np.inf))
    shared = np.clip(np.minimum(true[:, 1], owned) - np.maximum(true[:, 0], found[:, 0]), 0, None)
    return ClipScore(shared, lengths[0], overlaps, np.abs(true - found))


def summarise(scores: Sequence[ClipScore], *, num_resamples: int = 1000) -> AlignmentScores:
    """Measures over clips, with intervals drawn by clip; 0 resamples gives none."""
    overlaps = np.concatenate([score.overlaps for score in scores])
    distances = np.concatenate([score.distances for score in scores])
    right, total = [score.shared.sum() for score in scores], [score.lengths.sum() for score in scores]
    sizes = [len(score.overlaps) for score in scores]
    columns = {
        "frame_accuracy": (right, total),
        "mean_overlap": ([score.overlaps.sum() for score in scores], sizes),
        "half_overlap": ([(score.overlaps >= 0.5).sum() for score in scores], sizes),
        "boundary_frames": ([score.distances.sum() for score in scores], [2 * size for size in sizes]),
    }
    intervals: dict[str, tuple[float, float]] = {}
    for name, pair in columns.items() if num_resamples else ():
        interval = ratio_interval(*pair, num_resamples=num_resamples)
        intervals[name] = (float(interval.low), float(interval.high))
    return AlignmentScores(
        frame_accuracy=float(sum(right) / max(1, sum(total))),
        mean_overlap=float(overlaps.mean()),
        half_overlap=float((overlaps >= 0.5).mean()),
        boundary_frames=float(distances.mean()),
        median_boundary_frames=float(np.median(distances)),
        num_segments=len(overlaps),
        intervals=intervals,
    )


def baselines(
    reference: Mapping[str, Reference], *, durations: Mapping[str, Reference] | None = None, stride: int = 4
) -> dict[str, Callable[[Reference], Spans]]:
    """Ways to place glosses without looking at the clip, and the best that steps of a stride allow.

    uniform: equal parts of the clip. proportional: parts as long as the gloss is on average. ceiling: the truth on the
    nearest multiples of the stride, of at least one frame.

    Args:
        reference: what is scored; its own mean lengths count where `durations` isn't given.
        durations: true segments that mean lengths are taken from, e.g. those of the training clips.
        stride: frames per step.
    """
    lengths: dict[str, list[int]] = defaultdict(list)
    for row in (durations or reference).values():
        for gloss, (start, end) in zip(row.glosses, row.spans, strict=True):
            lengths[gloss].append(end - start)
    means = {gloss: float(np.mean(values)) for gloss, values in lengths.items()}
    overall = float(np.mean([value for values in lengths.values() for value in values]))

    def ceiling(row: Reference) -> Spans:
        starts = [stride * round(start / stride) for start, _ in row.spans]
        ends = [stride * round(end / stride) for _, end in row.spans]
        return [(a, min(max(b, a + 1), row.num_frames)) for a, b in zip(starts, ends, strict=True)]

    return {
        "uniform": lambda row: _divided(row.num_frames, [1.0] * len(row.glosses)),
        "proportional": lambda row: _divided(row.num_frames, [means.get(gloss, overall) for gloss in row.glosses]),
        f"ceiling at stride {stride}": ceiling,
    }


def _divided(num_frames: int, weights: Sequence[float]) -> Spans:
    edges = np.round(np.cumsum([0.0, *weights]) / sum(weights) * num_frames).tolist()
    return list(itertools.pairwise(edges))


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        rows: name → measures: each table, the quarters of each by confidence, the baselines.
        num_clips: clips that were compared.
        num_missing: clips of the reference that a table lacks.
        num_different: clips whose glosses aren't those of the reference.
    """

    rows: dict[str, AlignmentScores]
    num_clips: int
    num_missing: int = 0
    num_different: int = 0


def evaluate(
    reference: Mapping[str, Reference],
    tables: Mapping[str, Segments],
    *,
    durations: Mapping[str, Reference] | None = None,
    rate_hz: float = REFERENCE_HZ,
) -> Evaluation:
    """Score tables beside the baselines, on the clips that all of them have.

    Args:
        reference: true segments, in frames of `rate_hz`.
        tables: name → table; none scores the baselines alone, on every clip.
        durations: see `baselines`.
        rate_hz: of the reference.

    Raises:
        ArtefactError: a table and the reference have no clip in common.
    """
    found = {name: spans_of(table, rate_hz=rate_hz) for name, table in tables.items()}
    common, num_different = set(reference), 0
    for name, rows in found.items():
        names = matched(reference, list(rows))
        same = {there for here, there in names.items() if rows[here].glosses == reference[there].glosses}
        num_different += len(names) - len(same)
        common &= same
        found[name] = {there: rows[here] for here, there in names.items()}
        if not common:
            raise ArtefactError(f"{name}: has no clip of the reference with the same glosses; give that of its clips")
    names_kept = [name for name in reference if name in common]
    kept = {name: reference[name] for name in names_kept}
    rows_of: dict[str, AlignmentScores] = {}
    for table_name, spans in found.items():
        scores = [score_clip(kept[name], spans[name].spans) for name in names_kept]
        rows_of[table_name] = summarise(scores)
        rows_of |= _by_confidence(table_name, tables[table_name], reference, kept, scores)
    stride = next((table.header.stride for table in tables.values()), 4)
    for label, place in baselines(reference, durations=durations, stride=stride).items():
        rows_of[label] = summarise([score_clip(row, place(row)) for row in kept.values()])
    return Evaluation(rows_of, len(kept), len(reference) - len(kept) - num_different, num_different)


def _by_confidence(
    name: str, table: Segments, reference: Mapping[str, Reference], kept: Mapping[str, Reference],
    scores: Sequence[ClipScore],
) -> dict[str, AlignmentScores]:  # fmt: skip
    """The measures of each quarter of the segments, by their mean posterior."""
    names = matched(reference, list({row.clip for row in table.rows}))
    posteriors: dict[str, dict[int, float]] = defaultdict(dict)
    for row in table.rows:
        if row.index >= 0 and names.get(row.clip) in kept:
            posteriors[names[row.clip]][row.index] = row.mean_posterior
    sure = np.asarray([posteriors[clip][place] for clip in kept for place in range(len(kept[clip].glosses))])
    whole = [np.concatenate(column) for column in zip(*scores, strict=True)]
    found = {}
    labels = ("least sure", "second", "third", "surest")
    for label, part in zip(labels, np.array_split(np.argsort(sure, kind="stable"), 4), strict=True):
        if len(part):
            found[f"{name}, {label} quarter"] = summarise(
                [ClipScore(*(column[part] for column in whole))], num_resamples=0
            )
    return found


def to_text(evaluation: Evaluation) -> str:
    """A table for people."""
    width = max(len(name) for name in evaluation.rows)
    lines = [f"{'':{width}}  frames right  mean IoU  IoU ≥ 0.5  ends off by (frames): mean  median"]
    for name, row in evaluation.rows.items():
        lines.append(
            f"{name:{width}}  {100 * row.frame_accuracy:10.1f} %  {row.mean_overlap:8.3f}"
            f"  {100 * row.half_overlap:7.1f} %  {row.boundary_frames:27.2f}  {row.median_boundary_frames:6.1f}"
        )
    first = next(iter(evaluation.rows.values()))
    low, high = first.intervals["frame_accuracy"]
    lines.append(f"{evaluation.num_clips} clips, {first.num_segments} segments; frames right of the first row: 95 % "
                 f"interval {100 * low:.1f} to {100 * high:.1f}")  # fmt: skip
    if evaluation.num_missing or evaluation.num_different:
        lines.append(
            f"left out: {evaluation.num_missing} clips that no table has, {evaluation.num_different} with other glosses"
        )
    return "\n".join(lines)
