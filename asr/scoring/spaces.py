"""Word errors where a space, a non-joiner and no mark at all between two words are the same.

Persian writes می‌روم, می روم and میروم, Urdu اس کے and اسکے; nobody hears the difference. A run of words counts as right
when the other side has a run that reads the same without spaces and non-joiners. Everything else is counted as usual,
from an alignment of least cost.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from signwave.metrics import SCLITE, EditCosts, EditCounts, count_edits_batch, split_units

MAX_WORDS_OF_A_RUN = 8
_ZWNJ = "\u200c"
_MATCH, _SUBSTITUTION, _INSERTION, _DELETION, _RUN = range(5)

Runs = dict[tuple[int, int], tuple[int, int]]
"""Ends (i, j) of two runs that read the same → their words, at least three together; half-open, so i and j count."""


def count_each_lenient(
    references: Sequence[str], hypotheses: Sequence[str], *, costs: EditCosts = SCLITE
) -> list[EditCounts]:
    """Count the errors of each sentence; reference tokens are the words as the reference parts them.

    Args:
        references: N normalised texts.
        hypotheses: N normalised texts, in the same order.
        costs: what the alignment minimises; a run that reads the same costs nothing.
    """
    lefts, rights = ([_words(text) for text in side] for side in (references, hypotheses))
    runs = [equal_runs(left, right) for left, right in zip(lefts, rights, strict=True)]
    plain = count_edits_batch(lefts, rights, costs=costs)
    counts = []
    for n, found in enumerate(runs):
        if found:
            counts.append(count_lenient(lefts[n], rights[n], found, costs=costs))
            continue
        correct, substituted, deleted, inserted = (int(column[n]) for column in plain)
        wrong = int(substituted + deleted + inserted > 0)
        counts.append(EditCounts(len(lefts[n]), correct, substituted, deleted, inserted, 1, wrong, costs))
    return counts


def _words(text: str) -> list[str]:
    return [word for word in (word.replace(_ZWNJ, "") for word in split_units(text)) if word]


def equal_runs(reference: Sequence[str], hypothesis: Sequence[str]) -> Runs:
    """Find the shortest runs that end at each pair of words and read the same, pairs of equal words left out.

    Longer runs are made of these. A run has at most MAX_WORDS_OF_A_RUN words on either side.
    """
    ends: defaultdict[str, list[int]] = defaultdict(list)
    for column, word in enumerate(hypothesis):
        ends[word[-1]].append(column)
    found: Runs = {}
    for row, word in enumerate(reference):
        for column in ends.get(word[-1], ()):
            if word != hypothesis[column]:
                sizes = _run_ending_at(reference, hypothesis, row, column)
                if sizes is not None:
                    found[row + 1, column + 1] = sizes
    return found


def _run_ending_at(
    reference: Sequence[str], hypothesis: Sequence[str], row: int, column: int
) -> tuple[int, int] | None:
    first_row, first_column = row, column
    left, right = reference[row], hypothesis[column]
    while left != right:
        if len(left) < len(right):
            if not right.endswith(left) or first_row == 0 or row - first_row + 1 == MAX_WORDS_OF_A_RUN:
                return None
            first_row -= 1
            left = reference[first_row] + left
        else:
            if not left.endswith(right) or first_column == 0 or column - first_column + 1 == MAX_WORDS_OF_A_RUN:
                return None
            first_column -= 1
            right = hypothesis[first_column] + right
    return row - first_row + 1, column - first_column + 1


def count_lenient(
    reference: Sequence[str], hypothesis: Sequence[str], runs: Runs, *, costs: EditCosts = SCLITE
) -> EditCounts:
    """Count the errors of one sentence along a cheapest alignment, in which the given runs cost nothing."""
    table = _steps(reference, hypothesis, runs, costs)
    row, column = len(reference), len(hypothesis)
    correct, errors = 0, [0, 0, 0, 0]
    while row or column:
        step = int(table[row, column])
        if step == _RUN:
            num_reference, num_hypothesis = runs[row, column]
            correct += num_reference
            row, column = row - num_reference, column - num_hypothesis
            continue
        correct += step == _MATCH
        errors[step] += step != _MATCH
        row -= step != _INSERTION
        column -= step != _DELETION
    _, substitutions, insertions, deletions = errors
    return EditCounts(len(reference), correct, substitutions, deletions, insertions, 1, int(any(errors)), costs)


def _steps(reference: Sequence[str], hypothesis: Sequence[str], runs: Runs, costs: EditCosts) -> NDArray[np.uint8]:
    """(R + 1, H + 1) uint8, last step of a cheapest alignment of each pair of prefixes.

    Among steps of equal cost the order is that of `signwave.metrics`; a run is taken where it is cheaper than all.
    """
    numbers: dict[str, int] = {}
    columns = np.array([numbers.setdefault(word, len(numbers)) for word in hypothesis], dtype=np.int64)
    from_left = costs.insertion * np.arange(len(hypothesis) + 1, dtype=np.int64)
    by_row: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for (row, column), (num_reference, num_hypothesis) in runs.items():
        by_row[row].append((column, num_reference, num_hypothesis))
    recent: deque[NDArray[np.int64]] = deque([from_left], maxlen=MAX_WORDS_OF_A_RUN)
    table = np.full((len(reference) + 1, len(hypothesis) + 1), _INSERTION, dtype=np.uint8)
    for row, word in enumerate(reference, start=1):
        above = recent[-1]
        equal = columns == numbers.get(word, -1)
        diagonal = above[:-1] + np.where(equal, 0, costs.substitution)
        here = above + costs.deletion
        np.minimum(here[1:], diagonal, out=here[1:])
        by_run = {
            column: int(recent[-num_reference][column - num_hypothesis])
            for column, num_reference, num_hypothesis in by_row[row]
        }
        for column, cost in by_run.items():
            here[column] = min(here[column], cost)
        here = np.minimum.accumulate(here - from_left) + from_left
        table[row, 0] = _DELETION
        inserted = here[1:] == here[:-1] + costs.insertion
        deleted = here[1:] == above[1:] + costs.deletion
        best = np.select(
            [here[1:] == diagonal, inserted, deleted], [_SUBSTITUTION - equal, _INSERTION, _DELETION], _RUN
        )
        table[row, 1:] = best
        recent.append(here)
    return table
