"""The page of `asr collect --report`: what was dropped and why, and where each threshold lies in its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.curation.collecting import Collected
from asr.curation.selecting import Gate, Segment, gates
from asr.curation.settings import Thresholds
from signwave.plots.figure import COLOURS, RIGHT, WRONG, new_figure
from signwave.report import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUM_FAILURES = 50
_NUM_COLUMNS = 3


def write_page(path: Path, collected: Collected, keep: Thresholds, *, language: str) -> None:
    """Write one self-contained HTML page."""
    report = collected.report
    page = Page(
        f"Collected from {report['raw']}",
        lead=f"{report['num_files']} recordings of {report['hours_raw']:.2f} h; {report['num_segments']} segments with "
        f"speech of {report['hours_segments']:.2f} h; kept {report['num_kept']} of {report['hours_kept']:.2f} h.",
    )
    page.heading("What became of it")
    page.figure(plot_fate(report), "Hours of raw audio. A segment counts under the first reason that refused it.")
    page.table(
        ["reason", "segments", "hours"],
        [[reason, row["num"], f"{row['hours']:.3f}"] for reason, row in report["dropped"].items()],
    )
    bounds = [gate for gate in gates(keep, language) if any(gate.score in s.scores for s in collected.segments)]
    if bounds:
        page.heading("Scores and thresholds")
        page.figure(
            plot_scores(collected.segments, bounds),
            "Hours by score; orange is what this threshold alone refuses. Another threshold needs no new measurement: "
            "run again with --rescreen.",
        )
    if report["failures"]:
        page.heading("Recordings that can't be used")
        page.table(["kind", "what"], [[f["kind"], f["message"]] for f in report["failures"][:_NUM_FAILURES]])
        if report["num_failed"] > _NUM_FAILURES:
            page.note(f"{report['num_failed'] - _NUM_FAILURES} more are in problems.jsonl.")
    page.write(path)


def plot_fate(report: dict[str, Any]) -> Figure:
    """Bars: raw hours split into no speech, each reason, and kept."""
    rows = [("kept", report["hours_kept"], RIGHT)]
    rows += [(reason, row["hours"], WRONG) for reason, row in report["dropped"].items()]
    rows.append(("no speech found", max(0.0, report["hours_raw"] - report["hours_segments"]), COLOURS[-1]))
    figure = new_figure(8.0, 0.8 + 0.32 * len(rows))
    ax = figure.subplots()
    for place, (_, hours, colour) in enumerate(rows):
        ax.barh(place, hours, color=colour, height=0.7)
        ax.text(hours, place, f" {hours:.3g} h", va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("hours", fontsize=8)
    ax.tick_params(axis="x", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.15)
    return figure


def plot_scores(segments: Sequence[Segment], bounds: Sequence[Gate]) -> Figure:
    """A histogram per score, weighted by hours, with its threshold."""
    num_rows = -(-len(bounds) // _NUM_COLUMNS)
    figure = new_figure(4.0 * _NUM_COLUMNS, 2.3 * num_rows)
    axes = figure.subplots(num_rows, _NUM_COLUMNS, squeeze=False).ravel()
    for ax, gate in zip(axes, bounds, strict=False):
        known = [segment for segment in segments if gate.score in segment.scores]
        values = np.array([segment.scores[gate.score] for segment in known])
        hours = np.array([segment.seconds for segment in known]) / 3600
        edges = np.histogram_bin_edges(np.append(values, gate.bound), bins=40)
        refused = values < gate.bound if gate.is_lowest else values > gate.bound
        groups = [(~refused, RIGHT), (refused, WRONG)]
        ax.hist(
            [values[mask] for mask, _ in groups], edges, weights=[hours[mask] for mask, _ in groups], stacked=True,
            color=[colour for _, colour in groups],
        )  # fmt: skip
        ax.axvline(gate.bound, color="black", linewidth=1)
        ax.set_title(f"{gate.score} ({gate.reason})", fontsize=9)
        ax.tick_params(labelsize=7)
    for ax in axes[len(bounds) :]:
        ax.set_axis_off()
    return figure
