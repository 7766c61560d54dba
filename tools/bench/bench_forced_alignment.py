"""Forced alignment: the batched Viterbi beside torchaudio's forced_align and plain double loops.

    python tools/bench/bench_forced_alignment.py [--quick] [--out FILE]

First the search alone, on random posteriors of three shapes. Then the way from posteriors to the segments of a
dictionary: ours for a batch (`slr.crosslingual.aligning.find_segments`) beside the published one, clip by clip, as the
release of Wei and Chen (ICCV 2023) has it: a double loop over steps and states that multiplies float32 probabilities,
growth by the second-best gloss, and a second pass for the blanks. The release reads its tensors element by element;
the same loop on a NumPy array, with one pass for both, stands beside it.

Before anything is timed, the scores of all are compared.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _result import write_result
from torch import Tensor

from signwave.ctc import Alignment, align, required_steps
from slr.crosslingual.aligning import Wanted, find_segments
from slr.crosslingual.cutting import Cutting, Geometry

SHAPES = {"signs": (16, 100, 1296, 12), "utterances": (16, 1000, 32, 150), "one long": (1, 6000, 32, 900)}
STRIDE = 4
CLIPS, CLIPS_AT_ONCE = 64, (64, 20)
"""20 clips of 400 frames are what the stage takes at once for a model of keypoints."""


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
    found = {name: align(*arguments, backend=name) for name in ("auto", "torchaudio")}  # type: ignore[arg-type]
    same_spans = 0
    for item, (ours, theirs) in enumerate(zip(found["auto"], found["torchaudio"], strict=True)):
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
        "auto_batch": timed(lambda: align(*arguments), repeats=repeats),
        "torch_batch": timed(lambda: align(*arguments, backend="torch"), repeats=repeats),
        "torchaudio_batch": timed(lambda: align(*arguments, backend="torchaudio"), repeats=repeats),
        "plain_one_item": timed(lambda: plain_viterbi(log_probs[0], labels[0].tolist()), repeats=repeats),
    }
    per_item = {key: figures[f"{key}_batch"]["median_ms"] / num_items for key in ("auto", "torch", "torchaudio")}
    plain_ms = figures["plain_one_item"]["median_ms"]
    return figures, {
        "NumPy batch / torchaudio": per_item["auto"] / per_item["torchaudio"],
        "torch batch / torchaudio": per_item["torch"] / per_item["torchaudio"],
        "NumPy batch / plain, per item": per_item["auto"] / plain_ms,
    }


def product_path(probs: Any, labels: list[int]) -> tuple[list[int], float]:
    """Return the rank of the gloss of each step, 0 for blanks, and the product along the path, by the published loop.

    Args:
        probs: (T, V) float32 in [0, 1], a tensor or a NumPy array, read element by element.
        labels: glosses of the clip.
    """
    states = [0]
    for label in labels:
        states += [label, 0]
    num_steps, num_states = len(probs), len(states)
    zeros = torch.zeros if isinstance(probs, Tensor) else np.zeros
    alpha, moves = zeros((num_steps, num_states), dtype=probs.dtype), zeros((num_steps, num_states), dtype=probs.dtype)
    alpha[0, 0], alpha[0, 1] = probs[0, 0], probs[0, states[1]]
    for step in range(1, num_steps):
        for state, token in enumerate(states):
            sources = [alpha[step - 1, state].item()]
            if state > 0:
                sources.append(alpha[step - 1, state - 1].item())
            if state > 1 and token and token != states[state - 2]:
                sources.append(alpha[step - 1, state - 2].item())
            alpha[step, state] = probs[step, token] * max(sources)
            moves[step, state] = np.argmax(sources)
    state = num_states - 1 if alpha[-1, -1] > alpha[-1, -2] else num_states - 2
    product = float(alpha[-1, state])
    path = [state]
    for step in range(num_steps - 1, 0, -1):
        state -= int(moves[step, state])
        path.append(state)
    return [state // 2 + 1 if state % 2 else 0 for state in reversed(path)], product


def plain_signs(ranks: list[int], rivals: list[int], labels: list[int], num_frames: int) -> list[tuple[int, int]]:
    """Grow each gloss over blanks, one step after the other, and turn steps into frames; one step is five of them."""
    found, step, num_steps = [], 0, len(ranks)
    for rank, label in enumerate(labels, 1):
        while step < num_steps and ranks[step] != rank:
            step += 1
        start = step
        while start > 0 and ranks[start - 1] == 0 and rivals[start - 1] == label:
            start -= 1
        while step < num_steps and ranks[step] == rank:
            step += 1
        end = step
        while end < num_steps and ranks[end] == 0 and rivals[end] == label:
            end += 1
        first, last = start * STRIDE, (end - 1) * STRIDE
        if first == last:
            first, last = first - 2, last + 2
        found.append((max(first, 0), min(last, num_frames - 1) + 1))
    return found


def plain_blanks(ranks: list[int], num_frames: int) -> list[tuple[int, int]]:
    """Runs of at least two blank steps, in frames."""
    found, start = [], 0
    for step in range(len(ranks) + 1):
        if step == len(ranks) or ranks[step]:
            if step - start >= 2:
                found.append((start * STRIDE, min((step - 1) * STRIDE, num_frames - 1) + 1))
            start = step + 1
    return found


def published_clip(probs: Tensor, labels: list[int], num_frames: int) -> list[tuple[int, int]]:
    """One clip as the release does it: all ranks sorted, and the loop again for the blanks."""
    rivals = (torch.argsort(-probs[:, 1:], dim=1) + 1)[:, 0].tolist()
    signs = plain_signs(product_path(probs, labels)[0], rivals, labels, num_frames)
    torch.argsort(-probs[:, 1:], dim=1)
    return signs + plain_blanks(product_path(probs, labels)[0], num_frames)


def numpy_clip(probs: np.ndarray[Any, Any], labels: list[int], num_frames: int) -> list[tuple[int, int]]:
    """One clip with the same loop on a NumPy array, without the release's double work."""
    ranks, _ = product_path(probs, labels)
    rivals = (probs[:, 1:].argmax(1) + 1).tolist()
    return plain_signs(ranks, rivals, labels, num_frames) + plain_blanks(ranks, num_frames)


def signed_clips(num_clips: int, num_steps: int, vocab_size: int, num_labels: int) -> tuple[Tensor, Tensor]:
    """Make posteriors like those of a trained recogniser: glosses of 1 to 6 steps, some clips sure, some hardly.

    Returns:
        (B, T, V) float32, natural log, and (B, N) int64.
    """
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(1, vocab_size, (num_clips, num_labels), generator=generator)
    logits = torch.randn((num_clips, num_steps, vocab_size), generator=generator)
    strengths = 7 + 4 * torch.rand(num_clips, generator=generator)  # 7: about a third of the mass, 11: nearly all
    lengths = torch.randint(1, 7, (num_clips, num_labels), generator=generator)
    for clip in range(num_clips):
        path = torch.zeros(num_steps, dtype=torch.int64)
        for place in range(num_labels):
            first = place * num_steps // num_labels
            path[first : first + min(int(lengths[clip, place]), num_steps // num_labels - 1)] = labels[clip, place]
        logits[clip, torch.arange(num_steps), path] += strengths[clip]
    return logits.log_softmax(-1), labels


def compare(found: list[Alignment | None], inputs: list[tuple[list[Any], list[list[int]]]]) -> dict[str, int]:
    """Count the clips on which the loops' products are a number that can be compared; stop where one isn't ours."""
    tiny = float(np.finfo(np.float32).tiny)
    counts = {"score_equal": 0, "product_is_0": 0, "product_is_denormal": 0}
    for place, ours in enumerate(found):
        products = [product_path(probs[place], glosses[place])[1] for probs, glosses in inputs]
        if ours is None or any(one >= tiny and abs(math.log(one) - ours.score) > 1e-3 for one in products):
            raise SystemExit(f"clip {place}: {ours} and the loops' products {products} differ: not measured")
        least = min(products)
        counts["product_is_0" if least == 0 else "product_is_denormal" if least < tiny else "score_equal"] += 1
    return counts


def measure_dictionary(*, quick: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure the way from posteriors to segments; returns its figures and ratios."""
    _, num_steps, vocab_size, num_tokens = SHAPES["signs"]
    num_clips, num_steps, num_tokens = (2, 30, 4) if quick else (CLIPS, num_steps, num_tokens)
    num_frames = num_steps * STRIDE
    log_probs, labels = signed_clips(num_clips, num_steps, vocab_size, num_tokens)
    lengths, num_labels = torch.full((num_clips,), num_steps), torch.full((num_clips,), num_tokens)
    tensors, glosses = list(log_probs.exp()), labels.tolist()
    arrays = [tensor.numpy() for tensor in tensors]
    wanted = [
        Wanted(f"{place}", [f"{gloss}" for gloss in row], row, Geometry(STRIDE, -STRIDE / 2, num_frames))
        for place, row in enumerate(glosses)
    ]

    def ours(at_once: int) -> list[Any]:
        parts = [slice(first, first + at_once) for first in range(0, num_clips, at_once)]
        cutting = Cutting()
        return [
            segments
            for part in parts
            for segments in find_segments(log_probs[part], lengths[part], wanted[part], corpus="c", cutting=cutting)
        ]

    found = align(log_probs, lengths, labels, num_labels)
    counts = compare(found, [(tensors, glosses), (arrays, glosses)])
    if any(sum(row.index >= 0 for row in rows) != num_tokens for rows in ours(num_clips)):
        raise SystemExit("a clip has not a segment for each gloss: not measured")
    clips = list(zip(tensors, arrays, glosses, strict=True))
    figures: dict[str, Any] = {
        "num_clips": num_clips,
        "clips": counts,
        "released_loop": timed(lambda: [published_clip(one, row, num_frames) for one, _, row in clips], repeats=3),
        "numpy_loop": timed(lambda: [numpy_clip(one, row, num_frames) for _, one, row in clips], repeats=3),
    }
    ratio = {}
    search = timed(lambda: align(log_probs, lengths, labels, num_labels), repeats=3 if quick else 21)
    figures[f"our_search_{num_clips}"] = search
    for name, inputs in (("released", tensors), ("numpy", arrays)):
        loop = timed(lambda given=inputs: [product_path(*one) for one in zip(given, glosses)], repeats=3)  # type: ignore[misc]
        figures[f"{name}_search"] = loop
        ratio[f"search alone, {num_clips} clips at once / {name} loop"] = search["median_ms"] / loop["median_ms"]
    for at_once in CLIPS_AT_ONCE:
        spent = timed(lambda size=at_once: ours(size), repeats=3 if quick else 21)  # type: ignore[misc]
        figures[f"ours_{at_once}_at_once"] = spent
        for name in ("released_loop", "numpy_loop"):
            ratio[f"{at_once} clips at once / {name.replace('_', ' ')}"] = (
                spent["median_ms"] / figures[name]["median_ms"]
            )
    return figures, ratio


def tell(what: str, times: dict[str, float]) -> None:
    """Print a line of the table."""
    print(f"  {what:20s} {times['median_ms']:10.2f} ms  ({times['min_ms']:.2f} to {times['max_ms']:.2f})")


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
        for what in ("auto_batch", "torch_batch", "torchaudio_batch", "plain_one_item"):
            tell(what, figures[key][what])
    _, num_steps, vocab_size, num_tokens = SHAPES["signs"]
    key = f"segments T={num_steps} V={vocab_size} N={num_tokens}"
    figures[key], ratios = measure_dictionary(quick=arguments.quick)
    ratio.update({f"{key}: {what}": value for what, value in ratios.items()})
    print(key, figures[key]["num_clips"], "clips:", figures[key]["clips"])
    for what, value in figures[key].items():
        if isinstance(value, dict) and "median_ms" in value:
            tell(what, value)
    for what, value in ratios.items():
        print(f"  {what}: {value:.2g}, {1 / value:.0f} times as fast")
    print(write_result("forced_alignment", figures, ratio, arguments.out))


if __name__ == "__main__":
    main()
