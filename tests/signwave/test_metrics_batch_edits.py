"""Batch counts against the one-sentence counts, which are held against recursion and sclite in their own test."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.metrics import (
    LEVENSHTEIN,
    SCLITE,
    EditCosts,
    EditCounts,
    count_each,
    count_edits,
    count_edits_batch,
    sum_counts,
)
from signwave.metrics import batch_edits as module

TOKENS = st.lists(st.sampled_from("abcd"), max_size=9)
COSTS = (SCLITE, LEVENSHTEIN, EditCosts(5, 1, 2), EditCosts(1, 7, 3), EditCosts(9, 2, 2), EditCosts(400, 300, 301))


def assert_equal_to_single(references, hypotheses, costs):
    found = count_edits_batch(references, hypotheses, costs=costs)
    for number, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        one = count_edits(reference, hypothesis, costs=costs)
        batch = tuple(int(column[number]) for column in found)
        assert batch == (one.correct, one.substitutions, one.deletions, one.insertions), (reference, hypothesis)
    assert all(column.dtype == np.int64 and column.shape == (len(references),) for column in found)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(TOKENS, TOKENS), max_size=30), st.sampled_from(COSTS))
def test_batch_counts_are_those_of_each_sentence(pairs, costs):
    assert_equal_to_single([list(r) for r, _ in pairs], [list(h) for _, h in pairs], costs)


@pytest.mark.parametrize("costs", COSTS)
def test_mixed_lengths_and_empty_sides_together(costs):
    rng = random.Random(3)
    sizes = (0, 0, 1, 2, 5, 12, 30)
    references, hypotheses = ([rng.choices("abcde", k=rng.choice(sizes)) for _ in range(300)] for _ in range(2))
    assert_equal_to_single(references, hypotheses, costs)


def test_long_sentences_where_a_table_of_bytes_overflows():
    rng = random.Random(5)
    references = [rng.choices("abcdefgh", k=rng.randint(86, 260)) for _ in range(12)]
    hypotheses = [[t if rng.random() < 0.7 else "x" for t in r if rng.random() < 0.9] for r in references]
    hypotheses[0], references[1] = [], []
    assert_equal_to_single(references, hypotheses, SCLITE)


def test_batches_are_cut_without_a_trace(monkeypatch):
    rng = random.Random(7)
    references, hypotheses = ([rng.choices("abc", k=rng.randint(0, 8)) for _ in range(120)] for _ in range(2))
    whole = count_edits_batch(references, hypotheses)
    monkeypatch.setattr(module, "_CELLS", 20)
    for left, right in zip(whole, count_edits_batch(references, hypotheses), strict=True):
        np.testing.assert_array_equal(left, right)


def test_numbers_widen_with_the_lengths():
    packing = module._Packing.of
    assert [packing(n, n, SCLITE).dtype for n in (10, 1000, 100_000)] == [np.int16, np.int32, np.int64]
    with pytest.raises(ValueError, match="too many for 64 bits"):
        packing(1 << 40, 1 << 40, SCLITE)


def test_tokens_may_be_numbers_and_derived_columns_add_up():
    found = count_edits_batch([[1, 2, 3], []], [[1, 3], [4]])
    assert found.num_errors.tolist() == [1, 1]
    assert found.num_reference.tolist() == [3, 0]
    assert count_edits_batch([], []).correct.shape == (0,)


@pytest.mark.parametrize("unit", ["word", "char"])
def test_count_each_is_the_same_few_or_many(unit):
    rng = random.Random(11)
    references, hypotheses = (
        [" ".join(rng.choices(("ab", "b", "cab"), k=rng.randint(0, 6))) for _ in range(60)] for _ in range(2)
    )
    many = count_each(references, hypotheses, unit=unit, costs=LEVENSHTEIN)
    few = [count_each([r], [h], unit=unit, costs=LEVENSHTEIN)[0] for r, h in zip(references, hypotheses, strict=True)]
    assert many == few
    assert all(type(one.correct) is int for one in many)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="1 references and 2 hypotheses"):
        count_edits_batch([["a"]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="split it first"):
        count_edits_batch([["a"]], ["a b"])
    with pytest.raises(ValueError, match="at least 1"):
        count_edits_batch([["a"]], [["b"]], costs=EditCosts(1, 0, 1))


def test_sum_of_counts_is_the_sum():
    counts = count_each(["a b", "c", ""], ["a", "d", "e"])
    assert sum_counts(counts) == sum(counts) == EditCounts(3, 1, 1, 1, 1, 3, 3)
    assert sum_counts([]) == EditCounts()
    with pytest.raises(ValueError, match="don't add up"):
        sum_counts([*counts, *count_each(["a"], ["b"], costs=LEVENSHTEIN)])


@pytest.mark.slow
def test_benchmark_runs_and_its_three_ways_agree(repository, tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, str(repository / "tools/bench/bench_scoring.py"), "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())["ratio"]
