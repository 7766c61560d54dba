"""Forced alignment: the batched Viterbi in torch beside torchaudio's forced_align and a plain double loop.

    python tools/bench/bench_forced_alignment.py [--quick] [--out FILE]

Before anything is timed, the scores of all three are compared on every item.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _result import write_result
from torch import Tensor

from signwave.ctc import align, required_steps

SHAPES = {"signs": (16, 100, 1296, 12), "utterances": (16, 1000, 32, 150), "one long": (1, 6000, 32, 900)}


def plain_viterbi(log_probs: Tensor, labels: list[int]) -> float:
    """Return the best path's score by a loop over steps and states, with the moves kept; one item, (T, V)."""
    states = [0]
    for label in labels:
        states += [label, 0]
    alpha = [0.0] + [-math.inf] * (len(states) - 1)
    moves = []
    for row in log_probs.tolist():
        best = [-math.inf] * len(states)
        move = [0] * len(states)
        for index, state in enumerate(states):
            sources = [alpha[index]]
            if index > 0:
                sources.append(alpha[index - 1])
            if index > 1 and state and state != states[index - 2]:
                sources.append(alpha[index - 2])
            move[index] = max(range(len(sources)), key=sources.__getitem__)
            best[index] = sources[move[index]] + row[state]
        alpha = best
        moves.append(move)
    return max(alpha[-1], alpha[-2] if len(alpha) > 1 else -math.inf)


def timed(call: Callable[[], object], *, repeats: int) -> dict[str, float]:
    """Run once to warm up, then measure; returns median and spread in milliseconds."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return {"median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times), "repeats": repeats}


def measure(shape: tuple[int, int, int, int], *, quick: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure one shape; returns its figures and ratios."""
    num_items, num_steps, vocab_size, num_tokens = shape
    if quick:
        num_items, num_steps, num_tokens = min(num_items, 2), num_steps // 5, num_tokens // 5
    generator = torch.Generator().manual_seed(0)
    log_probs = (torch.randn((num_items, num_steps, vocab_size), generator=generator) * 3).log_softmax(-1)
    labels = torch.randint(1, vocab_size, (num_items, num_tokens), generator=generator)
    num_labels = torch.full((num_items,), num_tokens)
    lengths = torch.full((num_items,), num_steps).clamp(min=int(required_steps(labels, num_labels).max()))
    arguments = (log_probs, lengths, labels, num_labels)
    num_compared = min(num_items, 2)
    found = {name: align(*arguments, backend=name) for name in ("torch", "torchaudio")}  # type: ignore[arg-type]
    same_spans = 0
    for item, (ours, theirs) in enumerate(zip(found["torch"], found["torchaudio"], strict=True)):
        if ours is None or theirs is None or abs(ours.score - theirs.score) > 1e-5 * abs(theirs.score):
            raise SystemExit(f"item {item}: {ours} and {theirs} differ: not measured further")
        same_spans += ours.steps == theirs.steps
        if item < num_compared:
            plain = plain_viterbi(log_probs[item], labels[item].tolist())
            if abs(ours.score - plain) > 1e-5 * abs(plain):
                raise SystemExit(f"item {item}: our score {ours.score}, the plain loop's {plain}: not measured further")
    repeats = 2 if quick else 7
    figures: dict[str, Any] = {
        "num_items": num_items,
        "items_with_equal_spans": same_spans,
        "torch_batch": timed(lambda: align(*arguments, backend="torch"), repeats=repeats),
        "torchaudio_batch": timed(lambda: align(*arguments, backend="torchaudio"), repeats=repeats),
        "plain_one_item": timed(lambda: plain_viterbi(log_probs[0], labels[0].tolist()), repeats=1),
    }
    per_item = {key: figures[key]["median_ms"] / num_items for key in ("torch_batch", "torchaudio_batch")}
    plain_ms = figures["plain_one_item"]["median_ms"]
    return figures, {
        "torch / torchaudio": per_item["torch_batch"] / per_item["torchaudio_batch"],
        "torch / plain, per item": per_item["torch_batch"] / plain_ms,
        "torchaudio / plain, per item": per_item["torchaudio_batch"] / plain_ms,
    }


def main() -> None:
    """Measure every shape, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small inputs, few repeats")
    parser.add_argument("--out", help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"num_threads": 1, "quick": arguments.quick}
    ratio: dict[str, float] = {}
    for name, shape in SHAPES.items():
        key = f"{name} B={shape[0]} T={shape[1]} V={shape[2]} N={shape[3]}"
        figures[key], ratios = measure(shape, quick=arguments.quick)
        ratio.update({f"{key}: {what}": value for what, value in ratios.items()})
        print(key, f"equal spans: {figures[key]['items_with_equal_spans']} of {figures[key]['num_items']}")
        for what in ("torch_batch", "torchaudio_batch", "plain_one_item"):
            value = figures[key][what]
            print(f"  {what:20s} {value['median_ms']:10.2f} ms  ({value['min_ms']:.2f} to {value['max_ms']:.2f})")
    print(write_result("forced_alignment", figures, ratio, arguments.out))


if __name__ == "__main__":
    main()
