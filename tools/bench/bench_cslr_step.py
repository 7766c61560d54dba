"""One training step of the VAC family: ours against the step as its repositories write it.

    python tools/bench/bench_cslr_step.py [--quick] [--device cuda] [--out FILE]

The peer is plain PyTorch in float32, run eagerly, as VAC, SMKD and CorrNet train: float frames made on the host, each
clip lengthened with its edge frames, clips cut out of the batch in a loop and put back, packed LSTM, CTC by lengths on
the host, Adam. Ours takes the same clips as uint8; on a GPU it runs under bf16 autocast with a compiled trunk, on a CPU
in float32 like the peer. Both losses, and the gradient's length, are compared with equal weights before anything is
timed. Frames per second count the clips' own frames; `frames_computed` also the edges that the peer's network runs on,
which weigh more the shorter the clips. On a CPU the ratios are those of a CPU and say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _result import write_result
from tensor_memory import TensorMemory

from slr.models.resnet_bilstm import ResnetBilstm, ResnetBilstmConfig
from slr.models.resnet_trunk import Recompute
from slr.training.batch import SignBatch
from slr.training.losses import objective

EDGE_FRAMES, STRIDE = 6, 4
DISTILLATION_WEIGHT, TEMPERATURE = 25.0, 8.0
OURS: dict[str, Recompute] = {"ours": "none", "ours_stem_again": "stem", "ours_all_again": "all"}
"""Name → what is computed again in the backward pass. The first is compiled as one, the others stage by stage."""
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Shapes:
    """What is trained on.

    lengths: frames of each clip, longest first, as packed sequences want them.
    size_px: height and width.
    num_labels: of each clip.
    vocab_size: tokens, the blank included.
    dim: width of the layers over time.
    """

    lengths: tuple[int, ...]
    size_px: int
    num_labels: int = 8
    vocab_size: int = 1296
    dim: int = 1024


GPU = Shapes((200, 180), 224)
CPU = Shapes((64, 52), 64)
QUICK = Shapes((16, 9), 32, num_labels=2, vocab_size=20, dim=32)


class Peer(nn.Module):
    """The VAC/SMKD network on padded frames."""

    def __init__(self, *, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.frames = torchvision.models.resnet18(weights=None)
        self.frames.fc = nn.Identity()
        self.time = nn.Sequential(
            nn.Conv1d(512, dim, 5), nn.BatchNorm1d(dim), nn.ReLU(inplace=True), nn.MaxPool1d(2),
            nn.Conv1d(dim, dim, 5), nn.BatchNorm1d(dim), nn.ReLU(inplace=True), nn.MaxPool1d(2),
        )  # fmt: skip
        self.lstm = nn.LSTM(dim, dim // 2, num_layers=2, bidirectional=True, dropout=0.3)
        self.weight = nn.Parameter(torch.empty(dim, vocab_size))

    def forward(self, frames: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor, list[int]]:
        """Logits of both heads, (T', B, V) each, and steps. frames: (B, T, 3, H, W) float32; lengths with the edges."""
        cut = torch.cat([clip[:length] for clip, length in zip(frames, lengths, strict=True)])
        features = self.frames(cut).split(lengths)
        padded = rnn.pad_sequence(list(features), batch_first=True)
        seen = self.time(padded.transpose(1, 2)).permute(2, 0, 1)
        steps = [(length - 2 * EDGE_FRAMES) // STRIDE for length in lengths]
        hidden, _ = rnn.pad_packed_sequence(self.lstm(rnn.pack_padded_sequence(seen, steps))[0])
        weight = functional.normalize(self.weight, dim=0)
        return hidden @ weight, seen @ weight, steps

    def loss(self, frames: Tensor, lengths: list[int], labels: Tensor, num_labels: Tensor) -> Tensor:
        """CTC on both heads and the distillation, 1 : 1 : 25. labels: all clips' in one row, on the host."""
        main, conv, steps = self(frames, lengths)
        total = main.new_zeros(())
        for logits in (main, conv):
            lengths_in = torch.tensor(steps, dtype=torch.int32)
            found = functional.ctc_loss(
                logits.log_softmax(-1), labels.cpu().int(), lengths_in, num_labels.cpu().int(), reduction="none"
            )
            total = total + found.mean()
        taught = functional.log_softmax(conv[..., 1:] / TEMPERATURE, dim=-1).flatten(0, 1)
        wanted = functional.softmax(main.detach()[..., 1:] / TEMPERATURE, dim=-1).flatten(0, 1)
        lesson = functional.kl_div(taught, wanted, reduction="batchmean") * TEMPERATURE**2
        return total + DISTILLATION_WEIGHT * lesson


def copy_weights(ours: ResnetBilstm, peer: Peer) -> None:
    """Give the peer our weights."""
    peer.frames.load_state_dict(ours.trunk.state_dict())
    for place, (conv, norm) in zip((0, 4), zip(ours.temporal.convs, ours.temporal.norms, strict=True), strict=True):
        peer.time[place].load_state_dict(conv.state_dict())
        peer.time[place + 1].load_state_dict(norm.state_dict())
    state = {}
    for layer, lstm in enumerate(ours.lstms):
        for suffix, part in (("", lstm.onward[0]), ("_reverse", lstm.reverse[0])):
            state.update({f"{name[:-1]}{layer}{suffix}": value for name, value in part.state_dict().items()})
    peer.lstm.load_state_dict(state)
    with torch.no_grad():
        peer.weight.copy_(ours.classifier.weight.T)


def make_batch(shapes: Shapes) -> SignBatch:
    """Noise, as uint8 on the host; what stands past a clip is zero."""
    draw = torch.Generator().manual_seed(0)
    shape = (len(shapes.lengths), max(shapes.lengths), 3, shapes.size_px, shapes.size_px)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    for row, length in enumerate(shapes.lengths):
        frames[row, length:] = 0
    labels = torch.randint(1, shapes.vocab_size, (len(frames), shapes.num_labels), generator=draw)
    return SignBatch(
        inputs=frames,
        num_frames=torch.tensor(shapes.lengths),
        labels=labels,
        num_labels=torch.full((len(frames),), shapes.num_labels),
        ids=tuple(str(row) for row in range(len(frames))),
        frame_labels=torch.full(frames.shape[:2], -1),
        num_valid=sum(shapes.lengths),
    )


def peer_inputs(batch: SignBatch) -> tuple[Tensor, list[int]]:
    """The frames as the peers' loader makes them: float32 in [-1, 1], edges repeated, all clips equally long."""
    lengths = [-(-length // STRIDE) * STRIDE + 2 * EDGE_FRAMES for length in batch.num_frames.tolist()]
    index = torch.arange(max(lengths)) - EDGE_FRAMES
    clips = [
        clip[index.clamp(0, length - 1)] for clip, length in zip(batch.inputs, batch.num_frames.tolist(), strict=True)
    ]
    return torch.stack(clips).float() / 127.5 - 1, lengths


def build(shapes: Shapes, device: str, **changes: Any) -> tuple[ResnetBilstm, Peer]:
    """Both models with equal weights; ours sees edges as the peer does."""
    torch.manual_seed(0)
    config = ResnetBilstmConfig(dim=shapes.dim, normalisation="half", time_padding="edge", **changes)
    ours, peer = config.build(vocab_size=shapes.vocab_size), Peer(vocab_size=shapes.vocab_size, dim=shapes.dim)
    copy_weights(ours, peer)
    return ours.to(device), peer.to(device)


def our_loss(model: ResnetBilstm, batch: SignBatch, device: str) -> Tensor:
    """The weighed loss of a batch that lies on the host; half precision on a GPU."""
    on_gpu = device != "cpu"
    moved = batch.to(device)
    context: AbstractContextManager[Any] = torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext()
    with context:
        heads = model.heads(moved.inputs, moved.num_frames, num_valid=batch.num_valid)
        return objective(heads, moved, model.losses()).total


def peer_loss(peer: Peer, frames: Tensor, lengths: list[int], batch: SignBatch, device: str) -> Tensor:
    """The weighed loss of the peer on frames that lie on the host."""
    return peer.loss(frames.to(device), lengths, batch.labels.flatten(), batch.num_labels)


def compare(shapes: Shapes) -> dict[str, float]:
    """Loss and length of the gradient of both, in float32 on the CPU with fixed statistics.

    Ends the run if they differ. Clips are equally long here: the peer's distillation counts padding, ours doesn't.
    """
    equal = replace(shapes, lengths=(max(shapes.lengths[0] // 2, 12),) * len(shapes.lengths))
    equal = replace(equal, size_px=min(shapes.size_px, 64), num_labels=min(shapes.num_labels, 2))
    batch, (ours, peer) = make_batch(equal), build(equal, "cpu")
    frames, lengths = peer_inputs(batch)
    figures: dict[str, float] = {}
    for name, model, loss in (
        ("ours", ours.eval(), functools.partial(our_loss, ours, batch, "cpu")),
        ("peer", peer.eval(), functools.partial(peer_loss, peer, frames, lengths, batch, "cpu")),
    ):
        value = loss()
        value.backward()
        squares = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None)
        figures |= {f"{name}_loss": float(value.detach()), f"{name}_gradient_norm": squares**0.5}
    for what in ("loss", "gradient_norm"):
        one, other = figures[f"ours_{what}"], figures[f"peer_{what}"]
        if abs(one - other) > 1e-3 * abs(other):
            raise SystemExit(f"{what} differs: ours {one}, peer {other}")
    return figures


def training_step(loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer) -> Step:
    """Forward, losses, backward, optimiser."""

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def seconds(step: Step, device: str, repeats: int) -> dict[str, float]:
    """Time a step after warm-up; a GPU is waited for."""

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    for _ in range(3 if device != "cpu" else 1):
        step()
    spent = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        step()
        wait()
        spent.append(time.perf_counter() - start)
    return {"median_s": round(statistics.median(spent), 4), "min_s": round(min(spent), 4), "repeats": repeats}


def peak_mib(step: Step, device: str, known: list[Tensor]) -> float:
    """The most memory of one step beside weights and optimiser: the allocator's count on a GPU, else live tensors'."""
    if device != "cpu":
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return round((torch.cuda.max_memory_allocated() - held) / 2**20, 1)
    with TensorMemory(known) as memory:
        step()
    return round(memory.peak_bytes / 2**20, 1)


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """FLOPs a second of a large product of matrices here: what utilisation is a share of."""
    size = 8192 if device != "cpu" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def product() -> Tensor:
        return left @ right

    return 2 * size**3 / seconds(product, device, 5)["min_s"]


def measure(shapes: Shapes, device: str, repeats: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Time both steps, ours with and without recomputation."""
    batch = make_batch(shapes)
    frames, lengths = peer_inputs(batch)
    if device != "cpu":
        batch, frames = batch.pin_memory(), frames.pin_memory()
    figures: dict[str, Any] = {}
    flops = 0.0
    for name in ("peer", *OURS):
        ours, peer = build(shapes, device, recompute=OURS.get(name, "none"))
        model: nn.Module = (peer if name == "peer" else ours).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4, fused=name != "peer" or None)
        loss = (
            functools.partial(peer_loss, peer, frames, lengths, batch, device)
            if name == "peer"
            else functools.partial(our_loss, ours, batch, device)
        )
        step = training_step(loss, optimiser)
        if name == "ours":
            with FlopCounterMode(display=False) as counter:
                step()
            flops = float(counter.get_total_flops())
        if device != "cpu" and name != "peer":
            (ours.trunk.compile if name == "ours" else ours.trunk.compile_stages)()
        figures[name] = seconds(step, device, repeats)
        figures[name]["frames_computed"] = sum(lengths) if name == "peer" else batch.num_valid
        known = [*model.parameters(), *model.buffers(), frames, *vars(batch).values()]
        known += [value for state in optimiser.state.values() for value in state.values()]
        optimiser.zero_grad(set_to_none=True)
        figures[name]["peak_mib"] = peak_mib(step, device, [value for value in known if isinstance(value, Tensor)])
        del ours, peer, model, optimiser, loss, step, known
    return figures, _ratios(figures, sum(shapes.lengths), flops, device)


def _ratios(figures: dict[str, Any], num_frames: int, flops: float, device: str) -> dict[str, float]:
    """Fill in frames per second and utilisation, and set ours beside the peer's."""
    half = device != "cpu"
    rates = {"peer": matmul_rate(device, torch.float32)}
    rates |= dict.fromkeys(OURS, matmul_rate(device, torch.bfloat16) if half else rates["peer"])
    for name, found in figures.items():
        found["frames_per_second"] = round(num_frames / found["median_s"], 2)
        # The work is the products and convolutions on true frames (the LSTM's kernels aren't counted), whoever does it.
        found["utilisation"] = round(flops / found["median_s"] / rates[name], 4)
    ratio = {}
    for name in OURS:
        for what in ("median_s", "peak_mib"):
            ratio[f"step {what} {name}/peer"] = round(figures[name][what] / figures["peer"][what], 3)
    figures["step_gflops"] = round(flops / 1e9, 2)
    figures["matmul_gflops_per_second"] = {name: round(rate / 1e9, 1) for name, rate in rates.items()}
    return ratio


def main() -> None:
    """Run, print a table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny clips and layers, few repeats")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, help="timed steps; by default 20 on a GPU, 3 on a CPU")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    options = parser.parse_args()
    on_gpu = options.device != "cpu"
    shapes = QUICK if options.quick else GPU if on_gpu else CPU
    repeats = options.repeats or (2 if options.quick else 20 if on_gpu else 3)
    comparison = compare(shapes)
    measured, ratio = measure(shapes, options.device, repeats)
    kind = "GPU" if on_gpu else "CPU"
    figures: dict[str, Any] = {
        "measured_on": kind,
        "num_threads": torch.get_num_threads(),
        "batch_lengths": list(shapes.lengths),
        "size_px": shapes.size_px,
        "memory_is": "allocator's peak" if on_gpu else "peak of live tensors, kernels' own workspace not seen",
        "compared": {name: round(value, 5) for name, value in comparison.items()},
        **measured,
    }
    ratio = {f"{kind} {name}": value for name, value in ratio.items()}
    for name, value in ratio.items():
        print(f"{name:45s} {value:6.3f}")
    for name in ("peer", *OURS):
        found = measured[name]
        print(
            f"{kind} {name:15s} {found['frames_per_second']:9.1f} frames/s {found['peak_mib']:9.1f} MiB "
            f"utilisation {found['utilisation']:.3f}"
        )
    print(f"written to {write_result('cslr_step', figures, ratio, options.out)}")


if __name__ == "__main__":
    main()
