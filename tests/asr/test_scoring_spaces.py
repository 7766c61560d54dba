"""Space-lenient word errors against a twin that tries every choice of runs."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.scoring.spaces import MAX_WORDS_OF_A_RUN, count_each_lenient, count_lenient, equal_runs
from signwave.metrics import LEVENSHTEIN, SCLITE, EditCosts, EditCounts, count_each, count_edits

ZWNJ = "\u200c"


def cost_of(counts: EditCounts) -> int:
    costs = counts.costs
    return (
        counts.substitutions * costs.substitution
        + counts.insertions * costs.insertion
        + counts.deletions * costs.deletion
    )


def choices(
    left: list[str], right: list[str], row: int = 0, column: int = 0
) -> Iterator[list[tuple[int, int, int, int]]]:
    """Every way to pick runs of both sides, in order and apart from each other, that read the same."""
    yield []
    for start in range(row, len(left)):
        for stop in range(start + 1, len(left) + 1):
            for other in range(column, len(right)):
                for end in range(other + 1, len(right) + 1):
                    if "".join(left[start:stop]) == "".join(right[other:end]):
                        for rest in choices(left, right, stop, end):
                            yield [(start, stop, other, end), *rest]


def brute_force(left: list[str], right: list[str], costs: EditCosts) -> int:
    """Cost of the best choice: between the runs, errors are counted as ever."""
    best = []
    for chosen in choices(left, right):
        total, row, column = 0, 0, 0
        for start, stop, other, end in [*chosen, (len(left), 0, len(right), 0)]:
            total += cost_of(count_edits(left[row:start], right[column:other], costs=costs))
            row, column = stop, end
        best.append(total)
    return min(best)


WORDS = st.lists(st.text("ab", min_size=1, max_size=3), max_size=4)


@pytest.mark.parametrize("costs", [SCLITE, LEVENSHTEIN])
@given(left=WORDS, right=WORDS)
@settings(max_examples=250, deadline=None)
def test_no_choice_of_runs_costs_less(costs: EditCosts, left: list[str], right: list[str]) -> None:
    counts = count_lenient(left, right, equal_runs(left, right), costs=costs)
    assert cost_of(counts) == brute_force(left, right, costs)
    assert counts.correct + counts.substitutions + counts.deletions == counts.num_reference == len(left)
    assert counts.num_wrong_sentences == (counts.num_errors > 0)
    assert (counts.num_errors == 0) == ("".join(left) == "".join(right))


@given(left=WORDS, right=WORDS)
def test_without_runs_it_is_the_usual_count(left: list[str], right: list[str]) -> None:
    assert count_lenient(left, right, {}) == count_edits(left, right)


@given(st.lists(st.tuples(st.text("ab ", max_size=8), st.text("ab ", max_size=8)), min_size=1, max_size=20))
def test_a_corpus_is_its_sentences(pairs: list[tuple[str, str]]) -> None:
    lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
    together = count_each_lenient(lefts, rights)
    assert together == [count_each_lenient([left], [right])[0] for left, right in pairs]
    usual = count_each(lefts, rights)
    assert all(cost_of(one) <= cost_of(other) for one, other in zip(together, usual, strict=True))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        (f"می{ZWNJ}روم", "می روم", (0, 0, 0)),
        ("می روم", f"می{ZWNJ}روم", (0, 0, 0)),
        (f"می{ZWNJ}روم خانه", "میروم خانه", (0, 0, 0)),
        ("اس کے لیے", "اسکے لیے", (0, 0, 0)),
        (f"کتاب{ZWNJ}های ما را", "کتاب هایما را", (0, 0, 0)),  # runs that overlap word ends on both sides
        ("می روم", "می رویم", (1, 0, 0)),
        ("می روم", f"می{ZWNJ}رویم", (1, 1, 0)),  # a joined word that is wrong is wrong twice
        ("یک دو", "", (0, 2, 0)),
        ("", "یک دو", (0, 0, 2)),
        ("x b", "xb b", (0, 0, 1)),  # an equal last word is not always part of the best alignment
    ],
)
def test_words(reference: str, hypothesis: str, errors: tuple[int, int, int]) -> None:
    counts = count_each_lenient([reference], [hypothesis])[0]
    assert (counts.substitutions, counts.deletions, counts.insertions) == errors


def test_a_run_has_a_longest_length() -> None:
    words = list("abcdefgh")
    assert count_each_lenient([" ".join(words)], ["".join(words)])[0].num_errors == 0
    assert len(words) == MAX_WORDS_OF_A_RUN
    longer = [*words, "i"]
    assert count_each_lenient([" ".join(longer)], ["".join(longer)])[0].num_errors > 0


def test_long_transcripts_are_counted_too() -> None:
    """An hour of speech on one line: memory stays at a byte a pair of words."""
    words = [f"w{number % 700}" for number in range(3000)]
    joined = [*words[:1000], words[1000] + words[1001], *words[1002:2500], *words[2510:]]
    counts = count_each_lenient([" ".join(words)], [" ".join(joined)])[0]
    assert (counts.substitutions, counts.deletions, counts.insertions) == (0, 10, 0)
