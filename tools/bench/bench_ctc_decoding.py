"""CTC decoding: the beam search in torch beside flashlight, a plain Python beam search and greedy.

    python tools/bench/bench_ctc_decoding.py [--quick] [--out FILE]

All search the same posteriors with the same beam and the same tokens per step. Before anything is timed, the best
hypotheses are compared: the plain beam's score must be ours, and the texts found by flashlight and by us are held
against each other by their exact probabilities (a beam's own score misses the paths that it dropped).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from _result import write_result
from torch import Tensor

from signwave.ctc import BeamOptions, Hypothesis, beam_search, ctc_loss, greedy
from signwave.ctc.flashlight import FlashlightDecoder, FlashlightOptions

TOP_TOKENS = 40
SHAPES = {"glosses": (60, 1296), "characters": (1000, 32)}


def posteriors(num_items: int, num_steps: int, vocab_size: int, *, seed: int) -> Tensor:
    """(B, T, V) natural logs as of a half-trained model: blanks rule, labels come in runs, rivals are close."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((num_items, num_steps, vocab_size), generator=generator)
    level = math.log(vocab_size)  # what all the noise together weighs, about
    logits[:, :, 0] += level + 3.5
    for item in range(num_items):
        step = 2
        while step < num_steps - 2:
            label, rival = torch.randint(1, vocab_size, (2,), generator=generator).tolist()
            length = int(torch.randint(1, 3, (1,), generator=generator))
            logits[item, step : step + length, label] += level + 6.5
            logits[item, step : step + length, rival] += level + 5.5
            step += length + int(torch.randint(1, 5, (1,), generator=generator))
    return logits.log_softmax(-1)


def log_add(one: float, two: float) -> float:
    """Return log(exp(one) + exp(two))."""
    if one < two:
        one, two = two, one
    return one if two == -math.inf else one + math.log1p(math.exp(two - one))


def plain_beam(log_probs: Tensor, *, beam_width: int, top_tokens: int) -> tuple[tuple[int, ...], float]:
    """Prefix beam search with dictionaries, as every tutorial writes it; one item, (T, V)."""
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for row in log_probs:
        values = row.tolist()
        tokens = [0, *(row[1:].topk(min(top_tokens, len(values) - 1)).indices + 1).tolist()]
        grown: defaultdict[tuple[int, ...], tuple[float, float]] = defaultdict(lambda: (-math.inf, -math.inf))
        # A token outside the best still counts where it leads to a prefix that is held anyway.
        held: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for prefix in beams:
            if prefix and prefix[-1] not in tokens:
                held[prefix[:-1]].append(prefix[-1])
        for prefix, (blank, label) in beams.items():
            both = log_add(blank, label)
            last = prefix[-1] if prefix else 0
            if last and last not in tokens:
                was = grown[prefix]
                grown[prefix] = (was[0], log_add(was[1], label + values[last]))
            for token in [*tokens, *held[prefix]]:
                value = values[token]
                if token == 0:
                    was = grown[prefix]
                    grown[prefix] = (log_add(was[0], both + value), was[1])
                    continue
                if token == last and token in tokens:
                    was = grown[prefix]
                    grown[prefix] = (was[0], log_add(was[1], label + value))
                was = grown[(*prefix, token)]
                grown[(*prefix, token)] = (was[0], log_add(was[1], (blank if token == last else both) + value))
        best = sorted(grown.items(), key=lambda item: -log_add(*item[1]))[:beam_width]
        beams = dict(best)
    prefix, parts = max(beams.items(), key=lambda item: log_add(*item[1]))
    return prefix, log_add(*parts)


def timed(call: Callable[[], object], *, repeats: int, warm_up: bool = True) -> dict[str, float]:
    """Run once to warm up, then measure; returns median and spread in milliseconds."""
    if warm_up:
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return {"median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times), "repeats": repeats}


def exact_scores(log_probs: Tensor, found: list[Hypothesis]) -> Tensor:
    """Return the log probability of each text over all its paths; a beam's own score misses those it dropped."""
    rows = [torch.tensor(one.tokens, dtype=torch.int64) for one in found]
    labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.full((len(found),), log_probs.shape[1])
    return -ctc_loss(log_probs, lengths, labels, torch.tensor([row.shape[0] for row in rows])).per_item


def compare(log_probs: Tensor, ours: list[Hypothesis], theirs: list[Hypothesis], beam_width: int) -> dict[str, Any]:
    """Hold the best hypotheses against the plain beam; returns counts and the largest differences of score."""
    same_plain, same_flashlight, gaps = 0, 0, []
    num_compared = len(ours) if beam_width <= 10 else 1  # the plain one takes half a minute an item
    for item, (one, two) in enumerate(zip(ours, theirs, strict=True)):
        gaps.append(one.score - two.score)
        same_flashlight += one.tokens == two.tokens
        if item >= num_compared:
            continue
        tokens, score = plain_beam(log_probs[item], beam_width=beam_width, top_tokens=TOP_TOKENS)
        if abs(one.score - score) > 1e-3 * max(1.0, abs(score)):
            raise SystemExit(f"item {item}: our score {one.score}, the plain beam's {score}: not measured further")
        same_plain += one.tokens == tokens
    exact = exact_scores(log_probs, ours) - exact_scores(log_probs, theirs)
    return {
        "num_items": len(ours),
        "num_compared_with_plain": num_compared,
        "same_text_as_plain": same_plain,
        "same_text_as_flashlight": same_flashlight,
        "more_probable_text_than_flashlight": int((exact > 1e-3).sum()),
        "less_probable_text_than_flashlight": int((exact < -1e-3).sum()),
        "score_above_flashlight_max": max(gaps),
        "score_above_flashlight_min": min(gaps),
    }


def measure(name: str, beam_width: int, *, quick: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure one shape; returns its figures and ratios."""
    num_steps, vocab_size = SHAPES[name]
    num_items = 2 if quick else 8
    repeats = 2 if quick else 7
    log_probs = posteriors(num_items, num_steps // (4 if quick else 1), vocab_size, seed=1)
    lengths = torch.full((num_items,), log_probs.shape[1])
    one, one_length = log_probs[:1], lengths[:1]
    options = BeamOptions(beam_width=beam_width, top_tokens=TOP_TOKENS, spans=False)
    skipping = BeamOptions(beam_width=beam_width, top_tokens=TOP_TOKENS, spans=False, blank_skip=0.95)
    flashlight = FlashlightDecoder(
        [str(index) for index in range(vocab_size)],
        options=FlashlightOptions(beam_width=beam_width, top_tokens=TOP_TOKENS, spans=False),
    )
    ours = [row[0] for row in beam_search(log_probs, lengths, options=options)]
    theirs = [row[0] for row in flashlight(log_probs, lengths)]
    figures: dict[str, Any] = {"agreement": compare(log_probs, ours, theirs, beam_width)}
    figures["torch_one_item"] = timed(lambda: beam_search(one, one_length, options=options), repeats=repeats)
    figures["torch_one_item_skipping_blanks"] = timed(
        lambda: beam_search(one, one_length, options=skipping), repeats=repeats
    )
    figures["torch_batch"] = timed(lambda: beam_search(log_probs, lengths, options=options), repeats=repeats)
    figures["flashlight_one_item"] = timed(lambda: flashlight(one, one_length), repeats=repeats)
    figures["flashlight_batch"] = timed(lambda: flashlight(log_probs, lengths), repeats=repeats)
    figures["plain_one_item"] = timed(
        lambda: plain_beam(one[0], beam_width=beam_width, top_tokens=TOP_TOKENS),
        repeats=3 if beam_width <= 10 else 1,
        warm_up=False,
    )
    figures["greedy_batch"] = timed(lambda: greedy(log_probs, lengths), repeats=repeats)
    figures["batch_items"] = num_items
    medians = {
        key: value["median_ms"] for key, value in figures.items() if isinstance(value, dict) and "repeats" in value
    }
    ratios = {
        "one item, torch / plain": medians["torch_one_item"] / medians["plain_one_item"],
        "one item, torch / flashlight": medians["torch_one_item"] / medians["flashlight_one_item"],
        "batch, torch / flashlight": medians["torch_batch"] / medians["flashlight_batch"],
    }
    return figures, ratios


def main() -> None:
    """Measure every shape and beam, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small inputs, few repeats")
    parser.add_argument("--out", help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"num_threads": 1, "top_tokens": TOP_TOKENS, "quick": arguments.quick}
    ratio: dict[str, float] = {}
    for name, (num_steps, vocab_size) in SHAPES.items():
        for beam_width in (10,) if arguments.quick else (10, 100):
            key = f"{name} T={num_steps} V={vocab_size} beam={beam_width}"
            figures[key], ratios = measure(name, beam_width, quick=arguments.quick)
            ratio.update({f"{key}: {what}": value for what, value in ratios.items()})
            print(key, figures[key]["agreement"])
            for what, value in figures[key].items():
                if isinstance(value, dict) and "median_ms" in value:
                    print(
                        f"  {what:32s} {value['median_ms']:10.2f} ms  ({value['min_ms']:.2f} to {value['max_ms']:.2f})"
                    )
    print(write_result("ctc_decoding", figures, ratio, arguments.out))


if __name__ == "__main__":
    main()
