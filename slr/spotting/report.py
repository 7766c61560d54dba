"""What spotting counts, and the picture of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slr.crosslingual.segments import Segment
from slr.spotting.spotter import NUM_BINS, Spotted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 60


@dataclass(frozen=True)
class Tally:
    """Counts of some clips, which add up.

    Attributes:
        histogram: windows by the probability of their likeliest class, NUM_BINS bins of [0, 1].
        num_sure: windows above the threshold.
        problems: clip → why nothing was found in it.
    """

    histogram: list[int] = field(default_factory=lambda: [0] * NUM_BINS)
    num_sure: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, clips: Iterable[Spotted]) -> Tally:
        """Of clips that were looked at."""
        found = cls()
        for one in clips:
            problems = {one.clip.id: one.problem} if one.problem else {}
            found += cls([int(number) for number in one.histogram], one.num_sure, problems)
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tally:
        """Of plain values, among which others may be."""
        return cls(values["histogram"], values["num_sure"], values["problems"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __add__(self, other: Tally) -> Tally:
        histogram = [here + there for here, there in zip(self.histogram, other.histogram, strict=True)]
        return Tally(histogram, self.num_sure + other.num_sure, {**self.problems, **other.problems})


@dataclass
class SpotReport:
    """What `slr.spotting.stage.spot_manifests` did.

    Attributes:
        out: the table.
        num_clips: clips that were to be looked at.
        num_refused: split → clips that were not, because it isn't among the chosen ones.
        num_windows: windows that were looked at.
        num_sure: of them above the threshold.
        num_spans: spans of signs.
        num_blanks: spans in which nothing is signed.
        num_classes: glosses that have a span.
        num_model_classes: glosses that the model knows.
        seconds: length of the spans of signs, together.
        mean_confidence: mean over the spans of signs.
        counts: gloss → its spans, the most frequent first.
        histogram: windows by the probability of their likeliest class, NUM_BINS bins of [0, 1].
        problems: clip → why nothing was found in it.
        is_old: the table was there already.
    """

    out: str
    num_clips: int = 0
    num_refused: dict[str, int] = field(default_factory=dict)
    num_windows: int = 0
    num_sure: int = 0
    num_spans: int = 0
    num_blanks: int = 0
    num_classes: int = 0
    num_model_classes: int = 0
    seconds: float = 0.0
    mean_confidence: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    histogram: list[int] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    is_old: bool = False

    @classmethod
    def of(
        cls,
        out: Path,
        rows: Sequence[Segment],
        tally: Tally,
        *,
        rate_hz: float,
        num_clips: int,
        num_refused: dict[str, int],
        num_model_classes: int,
    ) -> SpotReport:
        """Count the rows of a table."""
        signs = [row for row in rows if row.index >= 0]
        counts = Counter(row.gloss for row in signs)
        return cls(
            out=str(out),
            num_clips=num_clips,
            num_refused=num_refused,
            num_windows=sum(tally.histogram),
            num_sure=tally.num_sure,
            num_spans=len(signs),
            num_blanks=len(rows) - len(signs),
            num_classes=len(counts),
            num_model_classes=num_model_classes,
            seconds=sum(row.end_frame - row.start_frame for row in signs) / rate_hz,
            mean_confidence=sum(row.mean_posterior for row in signs) / len(signs) if signs else 0.0,
            counts=dict(counts.most_common()),
            histogram=tally.histogram,
            problems=tally.problems,
        )

    def summary(self) -> str:
        """A line for people."""
        share = self.num_sure / self.num_windows if self.num_windows else 0.0
        refused = ", ".join(f"{number} of {name}" for name, number in self.num_refused.items())
        return (
            f"{self.out}: {self.num_spans} spans of {self.num_classes} of {self.num_model_classes} glosses, "
            f"{self.seconds:.1f} s (mean confidence {self.mean_confidence:.2f}), and {self.num_blanks} without a sign; "
            f"{self.num_windows} windows of {self.num_clips - len(self.problems)} clips, {100 * share:.1f} % of them "
            f"sure; {len(self.problems)} clips not read"
            f"{f'; left out by split: {refused}' if refused else ''}{'; it was there already' if self.is_old else ''}"
        )


def plot(report: SpotReport, *, threshold: float) -> Figure:
    """How many spans each gloss has, and how sure the windows are; those above the threshold are in colour."""
    from signwave.plots.figure import COLOURS, new_figure

    names = list(report.counts)[:_MOST_CLASSES]
    figure = new_figure(5.0 + 0.14 * len(names), 3.2)
    left, right = figure.subplots(1, 2, width_ratios=(4.0 + 0.14 * len(names), 3.0))
    left.bar(range(len(names)), [report.counts[name] for name in names], color=COLOURS[0])
    left.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    left.set_ylabel("spans", fontsize=8)
    more = len(report.counts) - len(names)
    left.set_title(
        f"{report.num_spans} spans of {report.num_classes} of {report.num_model_classes} glosses"
        f"{f' ({more} not shown)' if more else ''}",
        fontsize=8,
    )
    width = 1 / NUM_BINS
    for place, number in enumerate(report.histogram):
        middle = (place + 0.5) * width
        right.bar(middle, number, width=0.9 * width, color=COLOURS[2] if middle > threshold else "#BBBBBB")
    right.axvline(threshold, color=COLOURS[1], linewidth=1.2)
    right.set_xlabel("probability of the likeliest class", fontsize=8)
    right.set_ylabel("windows", fontsize=8)
    right.set_title(f"{report.num_sure} of {report.num_windows} windows above {threshold:g}", fontsize=8)
    for ax in (left, right):
        ax.tick_params(labelsize=6)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
