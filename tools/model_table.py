"""Parameters, FLOPs and memory of every sign recogniser, as the table in docs/models.md; no figure is typed.

    python tools/model_table.py [--out docs/models.md]

Nothing is computed: models and inputs are PyTorch's fake tensors, which have a shape and no content. A model that asks
for true numbers on its way runs on the CPU.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tensor_memory import TensorMemory

from signwave.rundir import atomic_write

NUM_FRAMES = 100
VOCAB_SIZE = 1296
"""Glosses of Phoenix-2014 and the blank."""
SIZE_PX = 224
START, END = "<!-- model table:start -->", "<!-- model table:end -->"
HEADING = "# Models\n\nAll recognisers of signs stand behind one interface (`slr/models/interface.py`).\n"


@dataclass(frozen=True)
class Entry:
    """A line of the table: which config class builds the model, and what differs from its defaults."""

    label: str
    module: str
    config: str
    changes: dict[str, Any] = field(default_factory=dict)
    on_cpu: bool = False
    """It asks for true numbers on its way."""


ENTRIES = (
    Entry("ResNet-18 + BiLSTM (VAC, SMKD)", "resnet_bilstm", "ResnetBilstmConfig"),
    Entry("ResNet-34 + BiLSTM", "resnet_bilstm", "ResnetBilstmConfig", {"backbone": "resnet34"}),
    Entry("ResNet-18 + correlation + BiLSTM (CorrNet)", "resnet_bilstm", "ResnetBilstmConfig", {"correlation": True}),
    Entry("S3D, one stream", "s3d", "S3dConfig"),
    Entry("S3D, two streams (TwoStream-SLR)", "two_stream", "TwoStreamConfig"),
    Entry("Keypoint conformer", "keypoint_conformer", "KeypointConformerConfig"),
    Entry("Temporal head on frozen features", "feature_head", "FeatureHeadConfig"),
    Entry("Hand convolutions + GRU", "pose_conv", "PoseConvConfig", on_cpu=True),
)


class Cost(NamedTuple):
    """What one model takes.

    Attributes:
        parameters: how many.
        flops_per_frame: of a clip of `NUM_FRAMES`, a multiplication and an addition counting as two.
        memory_bytes: the most that activations of such a clip hold at once in inference, float32, without the weights.
    """

    parameters: int
    flops_per_frame: float
    memory_bytes: int


def count(model: nn.Module, inputs: dict[str, Tensor], num_frames: int) -> Cost:
    """Count one clip through a model in evaluation.

    Args:
        model: in any mode; left in evaluation.
        inputs: arguments of its forward pass beside the numbers of frames, one clip.
        num_frames: length of the clip.
    """
    model.eval()
    counted = {"num_valid": num_frames} if getattr(model, "gathers_frames", False) else {}
    lengths = torch.full((1,), num_frames)
    known = [*model.parameters(), *model.buffers(), *inputs.values(), lengths]
    flops = FlopCounterMode(display=False)
    # Without oneDNN an LSTM is the matrix products that it is made of: its own kernel isn't counted.
    with torch.backends.mkldnn.flags(enabled=False), torch.no_grad(), TensorMemory(known) as memory, flops:
        model(**inputs, num_frames=lengths, **counted)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, flops.get_total_flops() / num_frames, memory.peak_bytes)


def example(model: Any, reads: str, num_frames: int, *, size_px: int) -> dict[str, Tensor]:
    """Empty inputs of one clip; see slr.models.interface.Reads."""
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "hands": ((126,), torch.float32),
        "frames": ((3, size_px, size_px), torch.uint8),
        "keypoints": ((63, 3), torch.float32),
        "features": ((int(getattr(model, "feature_dim", 512)),), torch.float32),
    }
    made = {}
    for name, stream in zip(("inputs", "points"), reads.split("+"), strict=False):
        shape, dtype = shapes[stream]
        made[name] = torch.zeros(1, num_frames, *shape, dtype=dtype)
    return made


def measure(entry: Entry, *, num_frames: int = NUM_FRAMES, size_px: int = SIZE_PX) -> Cost:
    """Count a model at its standard size.

    Raises:
        ModuleNotFoundError: its file isn't there.
    """
    config = getattr(importlib.import_module(f"slr.models.{entry.module}"), entry.config)
    with nullcontext() if entry.on_cpu else FakeTensorMode():
        model = config(**entry.changes).build(vocab_size=VOCAB_SIZE)
        reads = str(getattr(model, "reads", "hands"))
        return count(model, example(model, reads, num_frames, size_px=size_px), num_frames)


def table(entries: tuple[Entry, ...] = ENTRIES, *, num_frames: int = NUM_FRAMES, size_px: int = SIZE_PX) -> str:
    """The table in Markdown; models whose files aren't there are listed as absent."""
    lines = [
        "| model | file | parameters | MFLOPs per frame | memory per 100 frames |",
        "|---|---|--:|--:|--:|",
    ]
    for entry in entries:
        start = f"| {entry.label} | `slr/models/{entry.module}.py` |"
        try:
            cost = measure(entry, num_frames=num_frames, size_px=size_px)
        except ModuleNotFoundError as error:
            if error.name != f"slr.models.{entry.module}":
                raise
            lines.append(f"{start} absent | | |")
            continue
        memory = cost.memory_bytes * 100 / num_frames / 2**20
        lines.append(
            f"{start} {cost.parameters / 1e6:.2f} M | {_rounded(cost.flops_per_frame / 1e6)} | {_rounded(memory)} MiB |"
        )
    return "\n".join([*lines, "", _notes(num_frames, size_px)])


def _notes(num_frames: int, size_px: int) -> str:
    return (
        f"Made by `python tools/model_table.py`: each model with its defaults and {VOCAB_SIZE} tokens, one clip of "
        f"{num_frames} frames of {size_px} × {size_px} pixels, float32. FLOPs are those of matrix products and "
        "convolutions, a multiplication and an addition counting as two. Memory is the most that the tensors of one "
        "forward pass in evaluation hold at once, without weights, inputs and the workspace of a kernel; half "
        "precision takes about half of it, training far more. The encoder before a head on frozen features is not in "
        "that head's figures."
    )


def _rounded(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def write(path: Path, text: str) -> None:
    """Put the table between its markers; a file without them gets it at the end, a new one a heading."""
    content = path.read_text(encoding="utf-8") if path.exists() else HEADING
    if START not in content:
        content = f"{content.rstrip()}\n\n{START}\n{END}\n"
    before, rest = content.split(START)
    atomic_write(path, f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}")


def main(arguments: list[str] | None = None) -> None:
    """Print the table or put it into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="Markdown file that holds the table; without it, it is printed")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")  # switching oneDNN off says so
    text = table()
    if options.out is None:
        print(text)
    else:
        write(options.out, text)
        print(f"written to {options.out}")


if __name__ == "__main__":
    main()
