"""Edit counts against recursion over all alignments, sclite's own counts, and published error rates."""

import csv
import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.metrics import (
    LEVENSHTEIN,
    SCLITE,
    EditCosts,
    EditCounts,
    align_tokens,
    cer,
    count_each,
    count_edits,
    ser,
    split_units,
    wer,
)

TOKENS = st.lists(st.sampled_from("abcd"), max_size=7)


def cheapest_by_recursion(reference, hypothesis, costs):
    """Cost of the best alignment: the definition, nothing shared with the library."""

    @functools.cache
    def cost(i, j):
        if i == 0 or j == 0:
            return i * costs.deletion + j * costs.insertion
        diagonal = cost(i - 1, j - 1) + (0 if reference[i - 1] == hypothesis[j - 1] else costs.substitution)
        return min(diagonal, cost(i - 1, j) + costs.deletion, cost(i, j - 1) + costs.insertion)

    return cost(len(reference), len(hypothesis))


@settings(deadline=None)
@given(TOKENS, TOKENS, st.sampled_from([SCLITE, LEVENSHTEIN, EditCosts(5, 1, 2)]))
def test_counts_have_the_cost_that_recursion_finds(reference, hypothesis, costs):
    counts = count_edits(reference, hypothesis, costs=costs)
    found = (
        costs.substitution * counts.substitutions
        + costs.insertion * counts.insertions
        + costs.deletion * counts.deletions
    )
    assert found == cheapest_by_recursion(tuple(reference), tuple(hypothesis), costs)
    assert counts.num_reference == counts.correct + counts.substitutions + counts.deletions == len(reference)
    assert len(hypothesis) == counts.correct + counts.substitutions + counts.insertions
    assert counts.num_wrong_sentences == (reference != hypothesis)


@settings(deadline=None)
@given(TOKENS, TOKENS)
def test_alignment_spells_both_sides_and_agrees_with_the_counts(reference, hypothesis):
    operations = align_tokens(reference, hypothesis)
    assert [op.reference for op in operations if op.reference is not None] == reference
    assert [op.hypothesis for op in operations if op.hypothesis is not None] == hypothesis
    counts = count_edits(reference, hypothesis)
    kinds = [op.kind for op in operations]
    assert kinds.count("substitution") == counts.substitutions
    assert kinds.count("correct") == counts.correct
    assert all((op.kind == "correct") == (op.reference == op.hypothesis) for op in operations)


# Several alignments are cheapest; correct, substitutions, deletions, insertions as NIST sclite 2.4.10 prints them.
@pytest.mark.parametrize(
    ("reference", "hypothesis", "printed"),
    [
        ("debcad", "bacbefacdcc", (3, 3, 0, 5)),
        ("bccbcbcbbb", "caccaabccb", (5, 4, 1, 1)),
        ("bbbaabaaac", "acbacccba", (4, 3, 3, 2)),
        ("daecee", "bfcdeedefccb", (3, 3, 0, 6)),
        ("acbabccac", "cbacabcbbb", (5, 3, 1, 2)),
        ("aabdccaefe", "fdeeffcfa", (2, 6, 2, 1)),
        ("afedaeebbc", "eaaacdd", (2, 5, 3, 0)),
    ],
)
def test_ties_are_broken_as_sclite_does(reference, hypothesis, printed):
    counts = count_edits(list(reference), list(hypothesis))
    assert (counts.correct, counts.substitutions, counts.deletions, counts.insertions) == printed


def test_counts_add_up_over_any_split():
    rng = random.Random(0)
    sentences = [" ".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(60)]
    heard = [" ".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(60)]
    each = count_each(sentences, heard)
    total = sum(each, start=EditCounts())
    assert sum(each[:13]) + sum(each[13:]) == total == sum(reversed(each))
    assert total.num_sentences == 60
    assert total.error_rate == wer(sentences, heard)
    assert total.sentence_error_rate == ser(sentences, heard)
    assert total.to_dict()["alignment_costs"] == {"substitution": 4, "insertion": 3, "deletion": 3}


def test_long_sentences_do_not_overflow():
    """A table of bytes gives 129 errors for 90 tokens against 45, where 64 is the minimum of its case."""
    rng = random.Random(1)
    long = rng.choices("abcdefghijklmnopqrstuvwxyz", k=700)
    assert count_edits(long, long).num_errors == 0
    assert count_edits(long, []).deletions == 700
    assert count_edits(["x"] * 90, ["y"] * 45) == EditCounts(90, 0, 45, 45, 0, 1, 1)
    changed = [token if i % 3 else "?" for i, token in enumerate(long)]
    counts = count_edits(long, changed)
    assert (counts.substitutions, counts.deletions, counts.insertions) == (234, 0, 0)


def test_3000_tokens_need_no_patience():
    rng = random.Random(2)
    reference = rng.choices("abcdefgh", k=3000)
    hypothesis = [token for token in reference if rng.random() > 0.2]
    counts = count_edits([*reference, "end"], [*hypothesis, "END"])
    assert counts.deletions + counts.substitutions == 3000 - len(hypothesis) + 1
    assert counts.insertions == 0


def test_costs_change_the_split():
    reference, hypothesis = list("abcdef"), list("xabxdy")
    sclite, unit = (count_edits(reference, hypothesis, costs=costs) for costs in (SCLITE, LEVENSHTEIN))
    assert unit.num_errors <= sclite.num_errors
    assert unit.costs == LEVENSHTEIN
    with pytest.raises(ValueError, match="don't add up"):
        sclite + unit
    assert sclite + EditCounts(costs=LEVENSHTEIN) == sclite  # nothing counted yet: no conflict


def test_rates_of_an_empty_reference_stay_finite():
    assert count_edits([], []).error_rate == 0.0
    assert count_edits([], ["a", "b"]).error_rate == 2.0
    assert count_edits([], ["a"]).sentence_error_rate == 1.0
    assert EditCounts().error_rate == EditCounts().sentence_error_rate == 0.0
    assert wer([], []) == 0.0


def test_white_space_in_characters():
    assert split_units("  a  bc ", unit="char") == ["a", " ", "b", "c"]
    assert split_units("  a  bc ", unit="char", spaces="drop") == ["a", "b", "c"]
    assert split_units(" a\u00a0 bc\t") == ["a", "bc"]
    assert cer(["ab cd"], ["abcd"]) == pytest.approx(1 / 5)
    assert cer(["ab cd"], ["abcd"], spaces="drop") == 0.0
    assert wer(["ab cd"], ["abcd"]) == 1.0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: count_edits("a b", ["a"]), r"sequence of tokens, got the str 'a b'; split it"),
        (lambda: wer(["a"], ["a", "b"]), "1 references and 2 hypotheses"),
        (lambda: wer("ab", "ab"), "lists of sentences"),
        (lambda: split_units("a", unit="phone"), "unit must be 'word' or 'char', got 'phone'"),
        (lambda: count_edits(["a"], ["b"], costs=EditCosts(0, 1, 1)), "at least 1"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def _glosses(path, delimiter):
    with open(path, encoding="utf-8", newline="") as file:
        return {row["id"]: row["gloss"] for row in csv.DictReader(file, delimiter=delimiter)}


@pytest.mark.parametrize(
    ("split", "errors", "tokens", "percent"), [("SI", 333, 4554, 7.312253), ("US", 1430, 2596, 55.084746)]
)
def test_published_error_rate_of_isharah(shared_data, split, errors, tokens, percent):
    references = _glosses(shared_data / f"sign/isharah/annotations_v2/{split}/dev.txt", "|")
    hypotheses = _glosses(shared_data / f"sign/isharah/predictions/{split}/dev.csv", ",")
    assert references.keys() == hypotheses.keys()
    for costs in (SCLITE, LEVENSHTEIN):
        total = sum(count_each(list(references.values()), [hypotheses[i] for i in references], costs=costs))
        assert (total.num_errors, total.num_reference) == (errors, tokens)
        assert round(100 * total.error_rate, 6) == percent
