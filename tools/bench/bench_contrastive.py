"""The contrastive loss of sign-video retrieval: every cosine held at once, as CiCo's code does, against ours in blocks.

    python tools/bench/bench_contrastive.py [--quick] [--device cuda] [--threads N] [--out FILE]

A step is both halves of the score, the loss, and the gradient by all tokens. The peer is the released formula in plain
PyTorch: a (clips, texts, 65, 32) tensor of cosines for the original captions and another for the swapped ones, each
with a soft-max over all positions. `ours_released` scores by the same formula, so loss and gradient are compared with
the peer's before anything is timed; `ours` is the default, which leaves padding out, on lengths like How2Sign's, and
is compared with the plain masked score. Peer and ours take turns. `cpu_s` counts what this process computed (over its
threads) and is the figure to trust on a machine that others use too.

Peak memory of a CPU is the rise of the resident set in a process of its own; live tensors are counted as well, also of
a batch of 512 with the blocks of a GPU, without computing it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _result import write_result
from tensor_memory import TensorMemory

from slr.models.dual_encoder import Embedded, valid_mask
from slr.retrieval.learning.contrastive import pair_scores
from slr.retrieval.similarity import RELEASED_LENGTHS, Scores, contrastive_loss, fine_grained

TEMPERATURE, SCALE = 0.07, 100.0
GPU_BLOCK, GPU_BATCH = 1 << 24, 512
Step = Callable[[], list[Tensor]]
Score = Callable[[Embedded, Embedded, Embedded], Scores]


def released(clips: Embedded, texts: Embedded, swapped: Embedded) -> Scores:
    """The released formula: all positions take part in the soft-max, the means are over the valid ones."""
    by_sign, by_word = cosines(clips, texts), cosines(clips, swapped)
    chosen_words = (by_sign * torch.softmax(by_sign / TEMPERATURE, dim=3)).sum(3)
    chosen_signs = (by_word * torch.softmax(by_word / TEMPERATURE, dim=1)).sum(1)
    sign_valid = valid_mask(clips.num_tokens, clips.tokens.shape[1])[:, :, None]
    word_valid = valid_mask(swapped.num_tokens, swapped.tokens.shape[1])[None]
    return Scores(
        (chosen_words * sign_valid).sum(1) / clips.num_tokens[:, None],
        (chosen_signs * word_valid).sum(2) / swapped.num_tokens[None],
    )


def cosines(clips: Embedded, texts: Embedded) -> Tensor:
    """(A, M, C, N) float32, in one product of matrices."""
    flat = clips.tokens.flatten(0, 1) @ texts.tokens.flatten(0, 1).T
    return flat.view(*clips.tokens.shape[:2], *texts.tokens.shape[:2])


def ours_released(clips: Embedded, texts: Embedded, swapped: Embedded) -> Scores:
    """The same formula in blocks."""
    return pair_scores(clips, texts, swapped=swapped, temperature=TEMPERATURE, legacy_unmasked=True)


def ours(clips: Embedded, texts: Embedded, swapped: Embedded) -> Scores:
    """The default: padding takes no part."""
    return pair_scores(clips, texts, swapped=swapped, temperature=TEMPERATURE)


def plain_masked(clips: Embedded, texts: Embedded, swapped: Embedded) -> Scores:
    """What `ours` is held against."""
    return Scores(fine_grained(clips, texts).by_sign, fine_grained(clips, swapped).by_word)


WAYS: dict[str, Score] = {"peer": released, "ours_released": ours_released, "ours": ours}


def make_batch(size: int, dim: int, device: str) -> list[Embedded]:
    """Clips, captions and swapped captions; 71.5 % of the clips have all 64 windows, as in How2Sign's test set."""
    draw = torch.Generator().manual_seed(0)
    num_signs = torch.randint(5, 64, (size,), generator=draw)
    num_signs[torch.rand(size, generator=draw) < 0.715] = 64
    num_words = torch.randint(6, 33, (size,), generator=draw)
    sides = []
    for lengths, most in (
        (num_signs, RELEASED_LENGTHS[0]),
        (num_words, RELEASED_LENGTHS[1]),
        (num_words, RELEASED_LENGTHS[1]),
    ):
        tokens = functional.normalize(torch.randn(size, most, dim, generator=draw), dim=-1)
        tokens = (tokens * valid_mask(lengths, most)[..., None]).to(device)
        sides.append(Embedded(tokens.requires_grad_(), lengths.to(device), tokens[:, 0].detach()))
    return sides


def training_step(score: Score, sides: list[Embedded]) -> Step:
    """Scores, loss, gradient by the tokens."""
    positive = torch.eye(len(sides[0].tokens), dtype=torch.bool, device=sides[0].tokens.device)

    def step() -> list[Tensor]:
        scores = score(*sides)
        loss = contrastive_loss(scores.by_sign * SCALE, scores.by_word * SCALE, positive)
        return [loss.detach(), *torch.autograd.grad(loss, [side.tokens for side in sides])]

    return step


def compare(size: int, dim: int, device: str) -> dict[str, float]:
    """Largest difference of loss and of gradients, relative to the largest gradient. Ends the run above 1e-5."""
    sides = make_batch(size, dim, device)
    found = {}
    for name, expected in (("ours_released", released), ("ours", plain_masked)):
        pairs = zip(training_step(WAYS[name], sides)(), training_step(expected, sides)(), strict=True)
        differences = [float((one - other).abs().max() / other.abs().max()) for one, other in pairs]
        found |= {f"{name}_loss_difference": differences[0], f"{name}_gradient_difference": max(differences[1:])}
    if max(found.values()) > 1e-5:
        raise SystemExit(f"loss or gradients differ: {found}")
    return found


def timed(steps: dict[str, Step], repeats: int, device: str) -> dict[str, dict[str, float]]:
    """Median seconds of each, the steps taking turns."""
    wall: dict[str, list[float]] = {name: [] for name in steps}
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            wait(device)
            start, used = time.perf_counter(), time.process_time()
            step()
            wait(device)
            wall[name].append(time.perf_counter() - start)
            spent[name].append(time.process_time() - used)
    return {
        name: {
            "wall_s": round(statistics.median(wall[name]), 4),
            "cpu_s": round(statistics.median(spent[name]), 4),
            "repeats": repeats,
        }
        for name in steps
    }


def wait(device: str) -> None:
    """A GPU is waited for."""
    if device != "cpu":
        torch.cuda.synchronize()


def peak_mib(name: str, size: int, dim: int, device: str) -> float:
    """The most memory of one step beside its inputs."""
    if device == "cpu":
        return apart(name, size, dim)["peak_mib"]
    sides = make_batch(size, dim, device)
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    training_step(WAYS[name], sides)()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - held) / 2**20, 1)


def apart(name: str, size: int, dim: int) -> dict[str, float]:
    """One step in a process of its own, see `one_step`."""
    command = [
        sys.executable,
        __file__,
        "--apart",
        name,
        str(size),
        str(dim),
        "--threads",
        str(torch.get_num_threads()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} with a batch of {size} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def one_step(name: str, size: int, dim: int) -> dict[str, float]:
    """Time of one step, and the rise of this process' resident set over what it holds before."""
    training_step(WAYS[name], make_batch(4, dim, "cpu"))()
    step = training_step(WAYS[name], make_batch(size, dim, "cpu"))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark falls to what is held now
    found = timed({name: step}, 1, "cpu")[name]
    return {**found, "peak_mib": round((_status("VmHWM") - before) / 2**10, 1)}


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}; memory is measured on Linux")


def live_tensors_mib(size: int, dim: int) -> dict[str, float]:
    """Bytes of tensors alive at once in a step of this size with the blocks of a GPU; nothing is computed."""
    found = {}
    for name in ("peer", "ours_released"):

        def score(*some: Embedded, name: str = name) -> Scores:
            if name == "peer":
                return released(*some)
            return pair_scores(some[0], some[1], swapped=some[2], legacy_unmasked=True, block_elements=GPU_BLOCK)

        with FakeTensorMode():
            sides = [_empty(size, most, dim) for most in (RELEASED_LENGTHS[0], *RELEASED_LENGTHS[1:] * 2)]
            memory = TensorMemory([value for side in sides for value in side])
            with memory:
                # The loss asks a CPU whether there is any positive, which a tensor without values can't tell.
                scores = score(*sides)
                torch.autograd.grad(scores.by_sign.sum() + scores.by_word.sum(), [side.tokens for side in sides])
        found[name] = round(memory.peak_bytes / 2**20, 1)
    return found


def _empty(size: int, most: int, dim: int) -> Embedded:
    return Embedded(
        torch.empty(size, most, dim, requires_grad=True), torch.ones(size, dtype=torch.int64), torch.empty(size, dim)
    )


def measure(names: tuple[str, ...], size: int, dim: int, device: str, repeats: int) -> dict[str, Any]:
    """Time and memory of each way."""
    if device == "cpu" and size >= GPU_BATCH:
        return {name: apart(name, size, dim) for name in names}
    sides = make_batch(size, dim, device)
    steps = {name: training_step(WAYS[name], sides) for name in names}
    if device != "cpu":
        timed(steps, 2, device)
    found = timed(steps, repeats, device)
    return {name: {**found[name], "peak_mib": peak_mib(name, size, dim, device)} for name in names}


def main() -> None:
    """Run, print a table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches of narrow tokens, few repeats")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on a CPU; 1 is fair on a shared machine")
    parser.add_argument("--repeats", type=int, help="timed steps of each; by default 10 on a GPU, 3 on a CPU")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    parser.add_argument("--apart", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.apart:
        name, size, dim = options.apart
        print(json.dumps(one_step(name, int(size), int(dim))))
        return
    on_gpu, dim = options.device != "cpu", 32 if options.quick else 512
    every, mine = tuple(WAYS), ("ours_released", "ours")
    sizes = {32: every, 64: every} if options.quick else {128: every, 256: every, GPU_BATCH: every if on_gpu else mine}
    repeats = options.repeats or (10 if on_gpu else 3)
    compared = compare(16 if options.quick else 64, dim, options.device)
    measured = {f"batch_{size}": measure(names, size, dim, options.device, repeats) for size, names in sizes.items()}
    live = live_tensors_mib(GPU_BATCH, 512)
    figures = {
        "measured_on": "GPU" if on_gpu else "CPU",
        "num_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "tokens": [*RELEASED_LENGTHS, dim],
        "compared": {name: float(f"{value:.2e}") for name, value in compared.items()},
        **measured,
        f"batch_{GPU_BATCH}_live_tensors_mib": live,
    }
    ratio = _ratios(measured, on_gpu)
    ratio[f"live tensors of batch {GPU_BATCH} ours_released/peer"] = round(live["ours_released"] / live["peer"], 4)
    for name, value in ratio.items():
        print(f"{name:55s} {value:7.4f}")
    for size, found in measured.items():
        for name, one in found.items():
            print(
                f"{size:10s} {name:14s} {one['wall_s']:8.2f} s  {one['cpu_s']:8.2f} s of CPU {one['peak_mib']:9.1f} MiB"
            )
    print(f"written to {write_result('contrastive', figures, ratio, options.out)}")


def _ratios(measured: dict[str, dict[str, Any]], on_gpu: bool) -> dict[str, float]:
    """Ours over the peer's, for each batch that both did."""
    kind, ratio = "GPU" if on_gpu else "CPU", {}
    for size, found in measured.items():
        for name in ("ours_released", "ours") if "peer" in found else ():
            for what in ("wall_s", "peak_mib") if on_gpu else ("wall_s", "cpu_s", "peak_mib"):
                ratio[f"{kind} {size} {what} {name}/peer"] = round(found[name][what] / found["peer"][what], 4)
    return ratio


if __name__ == "__main__":
    main()
