"""Edit counts of many sentences: batches by anti-diagonals beside one table a sentence and beside a double Python loop.

    python tools/bench/bench_scoring.py [--quick] [--out FILE]

The sentences are made up: 3 to 20 glosses of a vocabulary of 1,200 in Zipf's proportions, recognised with about 20 %
of errors. Before anything is timed, all three must give the same counts of every sentence that all of them count.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

from _result import write_result

from signwave.metrics import count_each, count_edits, count_edits_batch

VOCABULARY = [f"GLOSS{number}" for number in range(1200)]
COSTS = {"substitution": 4, "insertion": 3, "deletion": 3}
Sentences = list[list[str]]
Counts = tuple[int, int, int, int]


def make_sentences(num_sentences: int, *, seed: int) -> tuple[Sentences, Sentences]:
    """References and hypotheses."""
    rng = random.Random(seed)
    weights = [1 / rank for rank in range(1, len(VOCABULARY) + 1)]
    stock = rng.choices(VOCABULARY, weights, k=1 << 16)
    references, hypotheses = [], []
    for _ in range(num_sentences):
        start, length = rng.randrange(len(stock) - 20), rng.randint(3, 20)
        reference = stock[start : start + length]
        hypothesis = []
        for gloss in reference:
            draw = rng.random()
            if draw < 0.06:
                continue
            hypothesis.append(rng.choice(stock) if draw < 0.17 else gloss)
            if draw > 0.97:
                hypothesis.append(rng.choice(stock))
        references.append(reference)
        hypotheses.append(hypothesis)
    return references, hypotheses


def double_loop(reference: Sequence[str], hypothesis: Sequence[str]) -> Counts:
    """The textbook way: a table of lists filled by two loops of Python, then a walk back. Correct, S, D, I."""
    rows, columns = len(reference), len(hypothesis)
    costs = [[0] * (columns + 1) for _ in range(rows + 1)]
    steps = [[""] * (columns + 1) for _ in range(rows + 1)]
    for row in range(1, rows + 1):
        costs[row][0], steps[row][0] = row * COSTS["deletion"], "D"
    for column in range(1, columns + 1):
        costs[0][column], steps[0][column] = column * COSTS["insertion"], "I"
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            equal = reference[row - 1] == hypothesis[column - 1]
            diagonal = costs[row - 1][column - 1] + (0 if equal else COSTS["substitution"])
            inserted = costs[row][column - 1] + COSTS["insertion"]
            deleted = costs[row - 1][column] + COSTS["deletion"]
            best = min(diagonal, inserted, deleted)
            costs[row][column] = best
            steps[row][column] = ("C" if equal else "S") if best == diagonal else "I" if best == inserted else "D"
    found = {"C": 0, "S": 0, "D": 0, "I": 0}
    row, column = rows, columns
    while row or column:
        step = steps[row][column]
        found[step] += 1
        row -= step != "I"
        column -= step != "D"
    return found["C"], found["S"], found["D"], found["I"]


def check(references: Sentences, hypotheses: Sentences) -> None:
    """Stop unless the three ways agree on every sentence."""
    batch = list(zip(*(column.tolist() for column in count_edits_batch(references, hypotheses)), strict=True))
    for number, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        one = count_edits(reference, hypothesis)
        table = (one.correct, one.substitutions, one.deletions, one.insertions)
        if not batch[number] == table == double_loop(reference, hypothesis):
            raise SystemExit(f"sentence {number}: the counts differ: not measured")


def seconds(call: Callable[[], object], *, repeats: int) -> list[float]:
    """Wall time of each repeat, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)


def main() -> None:
    """Measure, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sentences, one repeat")
    parser.add_argument("--out", help="the result file")
    arguments = parser.parse_args()
    num_many, num_few, repeats = (5_000, 200, 1) if arguments.quick else (1_000_000, 4_000, 3)
    references, hypotheses = make_sentences(num_many, seed=1)
    few = references[:num_few], hypotheses[:num_few]
    check(*few)
    texts = [[" ".join(tokens) for tokens in side] for side in (references, hypotheses)]
    runs: dict[str, tuple[int, list[float]]] = {
        "batch_from_tokens": (num_many, seconds(lambda: count_edits_batch(references, hypotheses), repeats=repeats)),
        "batch_from_text": (num_many, seconds(lambda: count_each(*texts), repeats=repeats)),
        "table_a_sentence": (num_few, seconds(lambda: list(map(count_edits, *few)), repeats=repeats)),
        "double_python_loop": (num_few, seconds(lambda: list(map(double_loop, *few)), repeats=repeats)),
    }
    figures: dict[str, Any] = {
        "num_sentences": num_many,
        "num_sentences_of_loops": num_few,
        "num_reference_tokens": sum(map(len, references)),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "num_processes": 1,
    }
    per_million = {}
    for name, (num_sentences, times) in runs.items():
        per_million[name] = times[len(times) // 2] * 1e6 / num_sentences
        figures[name] = {
            "seconds_per_million_sentences": per_million[name],
            "median_s": times[len(times) // 2],
            "min_s": times[0],
            "max_s": times[-1],
            "num_sentences": num_sentences,
            "repeats": len(times),
        }
        print(f"{name:20s} {per_million[name]:10.2f} s a million sentences")
    ratio = {
        f"batch from tokens / {name}": per_million["batch_from_tokens"] / per_million[name]
        for name in ("table_a_sentence", "double_python_loop")
    }
    print(write_result("scoring", figures, ratio, arguments.out))


if __name__ == "__main__":
    main()
