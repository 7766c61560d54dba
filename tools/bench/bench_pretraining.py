"""The objective of wav2vec 2.0 and whole pretraining steps: transformers' own class against ours, in one process.

    python tools/bench/bench_pretraining.py [--quick] [--device cuda] [--threads N] [--out FILE]

`objective`: loss and all gradients from given states, masks and negatives; transformers' class runs its own code on a
stand-in for its encoder. Loss and gradients are compared with the same Gumbel noise before anything is timed.
`step`: sampling of masks and negatives, encoder, objective, gradient, AdamW; the same architecture and audio for both
(bf16 on a GPU). The peer samples in NumPy as its example script does. Peer and ours take turns. `cpu_s` counts what
this process computed and is the figure to trust on a machine that others use too.

Memory is the peak of tensors alive at once beside inputs and parameters, counted by operation; on a GPU, of the
allocator. On a GPU, audio hours per GPU hour are told too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _result import write_result
from tensor_memory import TensorMemory
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2BaseModelOutput,
    _compute_mask_indices,
    _sample_negative_indices,
)

from asr.pretraining.config import ObjectiveConfig
from asr.pretraining.encoders import MaskedEncoder, build_masked_encoder
from asr.pretraining.masking import SpanSettings, masked_positions, sample_spans

Step = Callable[[], Any]
TEMPERATURE, RATE_HZ, STEPS_PER_SECOND = 2.0, 16_000, 50
STILL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0,
         "feat_quantizer_dropout": 0.0, "layerdrop": 0.0, "final_dropout": 0.0, "mask_time_prob": 0.65}  # fmt: skip
LARGE_NORMS = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
QUANTISER = {"codevector_dim": 768, "proj_codevector_dim": 768, "num_codevectors_per_group": 320}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "quick": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
              "conv_dim": (32,) * 7},
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
              "conv_dim": (128,) * 7},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "xlsr_300m": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}  # fmt: skip


def config_of(name: str) -> Wav2Vec2Config:
    """A configuration with XLS-R's normalisation and quantiser, without dropout so that results can be compared."""
    return Wav2Vec2Config(**ARCHITECTURES[name], **LARGE_NORMS, **QUANTISER, **STILL)


def build(name: str, device: str) -> tuple[Wav2Vec2ForPreTraining, MaskedEncoder, nn.Module]:
    """Both sides with the same weights."""
    torch.manual_seed(0)
    theirs = Wav2Vec2ForPreTraining(config_of(name)).to(device).train()
    theirs.set_gumbel_temperature(TEMPERATURE)
    encoder = build_masked_encoder({**config_of(name).to_dict()}).to(device).train()
    encoder.model.load_state_dict(theirs.wav2vec2.state_dict())
    objective = ObjectiveConfig().build(encoder).to(device).train()
    names = set(objective.state_dict())
    objective.load_state_dict({key: value for key, value in theirs.state_dict().items() if key in names})
    return theirs, encoder, objective


class Stated(nn.Module):
    """Stands in for the peer's encoder: gives states that are there already."""

    def __init__(self, context: Tensor, features: Tensor) -> None:
        super().__init__()
        self.found = Wav2Vec2BaseModelOutput(last_hidden_state=context, extract_features=features)

    def forward(self, *_: Any, **__: Any) -> Wav2Vec2BaseModelOutput:
        """The states, whatever the input."""
        return self.found


class ObjectiveInput:
    """States, masks, negatives and noise of a batch of clips of equal length."""

    def __init__(self, name: str, batch: int, steps: int, device: str) -> None:
        config = config_of(name)
        generator = torch.Generator().manual_seed(1)
        self.context = torch.randn(batch, steps, config.hidden_size, generator=generator).to(device).requires_grad_()
        features = torch.randn(batch, steps, config.conv_dim[-1], generator=generator)
        self.features = functional.layer_norm(features, features.shape[-1:]).to(device).requires_grad_()
        lengths = torch.full((batch,), steps)
        mask = sample_spans(lengths, steps, SpanSettings(), generator=generator)
        np.random.seed(0)  # noqa: NPY002 - the peer draws from the global generator
        drawn = _sample_negative_indices((batch, steps), config.num_negatives, mask.numpy())
        self.mask, self.their_negatives = mask.to(device), torch.from_numpy(drawn).long().to(device)
        self.masked = masked_positions(self.mask)
        order = mask.long().cumsum(1) - 1
        rows = torch.from_numpy(drawn).long() - torch.arange(batch)[:, None, None] * steps
        picked = torch.stack([order[row][rows[row][mask[row]]] for row in range(batch)])
        self.our_negatives = picked.to(device)
        groups, codes = config.num_codevector_groups, config.num_codevectors_per_group
        self.noise = -torch.empty(batch, steps, groups * codes).exponential_(generator=generator).log().to(device)
        self.our_noise = self.masked.take(self.noise).unflatten(-1, (groups, codes))


def objective_steps(name: str, batch: int, steps: int, device: str, *, noisy: bool = False) -> dict[str, Step]:
    """Peer and ours: loss and gradients by states and parameters; `noisy` gives both the same noise."""
    given = ObjectiveInput(name, batch, steps, device)
    theirs, _, objective = build(name, device)
    theirs.wav2vec2 = Stated(given.context, given.features)
    names = [key for key, _ in objective.named_parameters()]
    by_name = dict(theirs.named_parameters())
    inputs = [given.context, given.features]

    def peer() -> list[Tensor]:
        with same_noise(given.noise if noisy else None):
            loss = theirs(given.context[..., 0], mask_time_indices=given.mask,
                          sampled_negative_indices=given.their_negatives).loss  # fmt: skip
        return [loss.detach(), *torch.autograd.grad(loss, [*inputs, *(by_name[key] for key in names)])]

    def ours() -> list[Tensor]:
        loss = objective(
            given.context, given.features, given.masked, gumbel_temperature=TEMPERATURE,
            negatives=given.our_negatives, noise=given.our_noise if noisy else None,
        ).total  # fmt: skip
        return [loss.detach(), *torch.autograd.grad(loss, [*inputs, *objective.parameters()])]

    return {"peer": peer, "ours": ours}


@contextmanager
def same_noise(noise: Tensor | None) -> Iterator[None]:
    """The library's Gumbel soft-max with noise that is given instead of drawn."""

    def chosen(logits: Tensor, tau: float, hard: bool) -> Tensor:
        soft = ((logits + noise.view(logits.shape)) / tau).softmax(-1)
        one_hot = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        return one_hot - soft.detach() + soft

    if noise is None:
        yield
        return
    with mock.patch.object(functional, "gumbel_softmax", chosen):
        yield


def compare(name: str, batch: int, steps: int, device: str) -> dict[str, float]:
    """Differences of loss and gradients over their norms, the largest of all; ends the run above 1e-5."""
    found = objective_steps(name, batch, steps, device, noisy=True)
    pairs = list(zip(found["ours"](), found["peer"](), strict=True))
    differences = [float((one - other).norm() / other.norm()) for one, other in pairs]
    result = {"loss_difference": differences[0], "gradient_difference": max(differences[1:])}
    if max(result.values()) > 1e-5:
        raise SystemExit(f"loss or gradients differ: {result}")
    return {key: float(f"{value:.2e}") for key, value in result.items()}


def whole_steps(name: str, batch: int, seconds: float, device: str) -> dict[str, Step]:
    """Peer and ours: masks, negatives, encoder, objective, gradient, AdamW."""
    theirs, encoder, objective = build(name, device)
    audio = torch.randn(batch, int(seconds * RATE_HZ), generator=torch.Generator().manual_seed(2)).to(device)
    sizes = torch.full((batch,), audio.shape[1], device=device)
    steps = int(encoder.num_steps(sizes)[0])
    generator = torch.Generator(device).manual_seed(3)
    parameters = [*encoder.parameters(), *objective.parameters()]
    optimisers = {"peer": torch.optim.AdamW(theirs.parameters(), lr=1e-5),
                  "ours": torch.optim.AdamW(parameters, lr=1e-5)}  # fmt: skip
    low = torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=device != "cpu")

    def peer() -> None:
        mask = _compute_mask_indices((batch, steps), 0.65, 10, min_masks=2)
        negatives = _sample_negative_indices((batch, steps), theirs.config.num_negatives, mask)
        with low:
            loss = theirs(audio, mask_time_indices=torch.from_numpy(mask).to(device),
                          sampled_negative_indices=torch.from_numpy(negatives).to(device)).loss  # fmt: skip
        finish("peer", loss / int(mask.sum()))

    def ours() -> None:
        mask = sample_spans(encoder.num_steps(sizes), steps, SpanSettings(), generator=generator)
        with low:
            context = encoder(audio, sizes, mask, generator=generator)
            loss = objective(context.states, context.features, masked_positions(mask), generator=generator,
                             gumbel_temperature=TEMPERATURE)  # fmt: skip
        finish("ours", loss.total / loss.num_masked.sum())

    def finish(side: str, loss: Tensor) -> None:
        optimisers[side].zero_grad()
        loss.backward()
        optimisers[side].step()

    return {"peer": peer, "ours": ours}


def timed(steps: dict[str, Step], repeats: int, device: str) -> dict[str, dict[str, float]]:
    """Median seconds of each after one step for warmth, the sides taking turns."""
    wall: dict[str, list[float]] = {side: [] for side in steps}
    spent: dict[str, list[float]] = {side: [] for side in steps}
    for number in range(repeats + 1):
        for side, step in steps.items():
            wait(device)
            start, used = time.perf_counter(), time.process_time()
            step()
            wait(device)
            if number:
                wall[side].append(time.perf_counter() - start)
                spent[side].append(time.process_time() - used)
    return {
        side: {"wall_s": round(statistics.median(wall[side]), 4), "cpu_s": round(statistics.median(spent[side]), 4),
               "repeats": repeats}
        for side in steps
    }  # fmt: skip


def wait(device: str) -> None:
    """A GPU is waited for."""
    if device != "cpu":
        torch.cuda.synchronize()


def peak_mib(step: Step, device: str) -> float:
    """The most memory of one step beside what there was before."""
    if device == "cpu":
        memory = TensorMemory()
        with memory:
            step()
        return round(memory.peak_bytes / 2**20, 1)
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    wait(device)
    return round((torch.cuda.max_memory_allocated() - held) / 2**20, 1)


def measure(steps: dict[str, Step], repeats: int, device: str) -> dict[str, dict[str, float]]:
    """Time and memory of each side."""
    found = timed(steps, repeats, device)
    return {side: {**found[side], "peak_mib": peak_mib(step, device)} for side, step in steps.items()}


def plan(*, quick: bool, on_gpu: bool) -> dict[str, tuple[str, str, int, float]]:
    """What is measured: name → (objective or step, architecture, clips, seconds of each)."""
    if quick:
        return {"objective": ("objective", "quick", 2, 3.0), "step quick": ("step", "quick", 2, 3.0)}
    if on_gpu:
        return {"objective": ("objective", "xlsr_300m", 8, 20.0), "step xlsr_300m": ("step", "xlsr_300m", 8, 20.0)}
    return {
        "objective": ("objective", "xlsr_300m", 1, 20.0),
        "step small": ("step", "small", 1, 20.0),
        "step base": ("step", "base", 1, 10.0),
    }


def main() -> None:
    """Run, print a table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short clips, a tiny encoder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on a CPU; 1 is fair on a shared machine")
    parser.add_argument("--repeats", type=int, help="timed steps of each; by default 10 on a GPU, 3 on a CPU")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    on_gpu = options.device != "cpu"
    repeats = options.repeats or (10 if on_gpu else 3)
    parts = plan(quick=options.quick, on_gpu=on_gpu)
    _, architecture, _, seconds = parts["objective"]
    steps = int(min(seconds, 4.0) * STEPS_PER_SECOND)
    figures: dict[str, Any] = {
        "measured_on": "GPU" if on_gpu else "CPU", "num_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "compared": compare(architecture, 2, steps, options.device),
    }  # fmt: skip
    ratio: dict[str, float] = {}
    for name, (kind, architecture, batch, seconds) in parts.items():
        if kind == "objective":
            steps_of = objective_steps(architecture, batch, int(seconds * STEPS_PER_SECOND) - 1, options.device)
        else:
            steps_of = whole_steps(architecture, batch, seconds, options.device)
        found: dict[str, Any] = measure(steps_of, repeats, options.device)
        figures[name] = {"architecture": architecture, "clips": batch, "seconds_each": seconds, **found}
        for what in ("wall_s", "peak_mib") if on_gpu else ("wall_s", "cpu_s", "peak_mib"):
            ratio[f"{name} {what} ours/peer"] = round(found["ours"][what] / found["peer"][what], 4)
        for side in ("peer", "ours") if on_gpu and kind == "step" else ():
            found[side]["audio_hours_per_gpu_hour"] = round(batch * seconds / found[side]["wall_s"], 1)
        for side, one in found.items():
            rate = f"  {one['audio_hours_per_gpu_hour']} h/GPU-h" if "audio_hours_per_gpu_hour" in one else ""
            print(f"{name:16s} {side:5s} {one['wall_s']:8.3f} s  {one['cpu_s']:8.3f} s of CPU "
                  f"{one['peak_mib']:9.1f} MiB{rate}")  # fmt: skip
    for name, value in ratio.items():
        print(f"{name:40s} {value:7.4f}  (1/{1 / value:.1f})")
    print(f"written to {write_result('pretraining', figures, ratio, options.out)}")


if __name__ == "__main__":
    main()
