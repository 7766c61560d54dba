"""From steps to seconds and from tokens to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signwave.ctc.align import Alignment
from signwave.ctc.hypothesis import Hypothesis
from signwave.transcript import Word


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Turns model steps into seconds.

    Attributes:
        stride_seconds: seconds from one step to the next.
        offset_seconds: where step 0 begins in the recording.
        start_seconds: where the recording, or the span of it, begins; no time lies before it.
        end_seconds: where it ends; no time lies past it. None where unknown.
    """

    stride_seconds: float
    offset_seconds: float = 0.0
    start_seconds: float = 0.0
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.stride_seconds > 0:
            raise ValueError(f"stride_seconds must be positive, got {self.stride_seconds}")

    def seconds(self, step: int) -> float:
        """Return the time at which a step begins, i.e. at which the one before it ends."""
        time = max(self.start_seconds, self.offset_seconds + step * self.stride_seconds)
        return time if self.end_seconds is None else min(time, self.end_seconds)

    def span(self, steps: tuple[int, int]) -> tuple[float, float]:
        """Return the half-open span of seconds of a half-open span of steps."""
        return self.seconds(steps[0]), self.seconds(steps[1])


def words(
    found: Hypothesis | Alignment, *, tokens: Sequence[str], clock: Clock, boundary: int | None = None
) -> list[Word]:
    """Return the words of a hypothesis or alignment with their times; a score is the mean over a word's tokens.

    Args:
        found: what to read; it must hold spans.
        tokens: the text of each token id.
        clock: the seconds of a step.
        boundary: the token between words, whose tokens are joined; None where each token is a word.
    """
    confidences = found.mean_posteriors if isinstance(found, Alignment) else found.confidences
    if len(found.steps) != len(found.tokens):
        raise ValueError("the hypothesis holds no spans; decode it with spans=True")
    groups: list[list[int]] = [[]]
    for index, token in enumerate(found.tokens):
        if token == boundary:
            groups.append([])
        elif boundary is None:
            groups.append([index])
        else:
            groups[-1].append(index)
    result = []
    for group in filter(None, groups):
        start, end = clock.span((found.steps[group[0]][0], found.steps[group[-1]][1]))
        score = sum(confidences[index] for index in group) / len(group)
        text = "".join(tokens[found.tokens[index]] if found.tokens[index] >= 0 else "*" for index in group)
        result.append(Word(text, start, end, score))
    return result
