"""How far the ends of aligned signs lie from where tools/make_sign_corpus.py drew them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from signwave import bundle, manifest
from signwave.ctc import align
from signwave.errors import ArtefactError, UserError
from signwave.sampling import Draw
from slr.model_loading import build_model, needs_of
from slr.models.interface import first_edge_frames
from slr.training.data import ClipDataset

DRAWN_HZ = 25.0
_TIMES = "phoenix-2014-multisigner/annotations/automatic/times.jsonl"


def boundary_errors(run: str | Path, clips: str | Path, raw: str | Path) -> list[float]:
    """Align clips with their own glosses and measure both ends of each sign.

    Args:
        run: run or bundle folder of a recogniser.
        clips: manifest of clips of the made-up corpus.
        raw: folder of the made-up corpus, with the times that were drawn.

    Returns:
        Distances in frames of 25 a second, two for each sign.

    Raises:
        UserError: a clip has no times.
    """
    stored = bundle.load(run)
    if stored.vocabulary is None:
        raise ArtefactError(f"{stored.folder}: has no vocabulary; export the model again")
    model = build_model(stored).eval()
    rate_hz = float(stored.info["rate_hz"])
    needs = needs_of(stored, model, rate_hz)
    dataset = ClipDataset(manifest.read(clips), vocabulary=stored.vocabulary, needs=needs)
    drawn = _drawn(Path(raw) / _TIMES)
    stride = int(stored.info["stride"])
    edge, scale = first_edge_frames(model, stride), DRAWN_HZ / rate_hz
    errors: list[float] = []
    for index in range(len(dataset)):
        batch = dataset.collate([dataset[Draw(index, 0)]])
        streams = {} if batch.points is None else {"points": batch.points}
        with torch.inference_mode():
            encoded = model(batch.inputs, batch.num_frames, **streams)
        (found,) = align(encoded.log_probs, encoded.num_steps, batch.labels, batch.num_labels)
        times = drawn.get(batch.ids[0], [])
        steps = () if found is None else found.steps
        if len(times) != len(steps):
            raise UserError(f"{raw}: has {len(times)} times for clip '{batch.ids[0]}', which has {len(steps)} signs")
        for (start, end), (first, stop) in zip(times, steps, strict=True):
            errors.append(abs(scale * (first * stride + edge) - start))
            errors.append(abs(scale * (stop * stride + edge) - end))
    return errors


def _drawn(path: Path) -> dict[str, list[tuple[int, int]]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder that tools/make_sign_corpus.py wrote")
    times: dict[str, list[tuple[int, int]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        times.setdefault(row["clip"], []).append((int(row["start_frame"]), int(row["end_frame"])))
    return times
