"""`slr align`: a trained recogniser and a manifest with glosses → the table of segments."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from signwave import bundle, command
from signwave import manifest as manifests
from signwave.bundle import Bundle
from signwave.ctc import STAR, align, min_steps
from signwave.ctc.peaky import LabelPriors
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from signwave.rundir import read_json, write_json
from slr.crosslingual.cutting import Cutting, Geometry, Uncut, cut_all
from slr.crosslingual.parts import Parts, difference
from slr.crosslingual.segments import Segment, SegmentsHeader, read_segments, write_segments
from slr.medium import KINDS
from slr.model_loading import build_model, needs_of
from slr.models.interface import first_edge_frames
from slr.training.data import SignItem, collate, read_clip

CLIPS_A_PART = 200
"""A killed run loses at most the work on so many clips."""
BUDGET_FRAMES = {"frames": 800, "frames+keypoints": 800}
_BUDGET_FRAMES = 8000
_PRIOR_CLIPS = 400
_READERS = 2


class Aligned(NamedTuple):
    """One clip: its segments, or why there are none."""

    clip: Clip
    segments: list[Segment]
    problem: str = ""


class Wanted(NamedTuple):
    """What is looked for in a clip.

    clip: its id.
    glosses: in order.
    labels: their token ids, STAR for those that the model doesn't know.
    geometry: where the steps of the clip lie.
    """

    clip: str
    glosses: Sequence[str]
    labels: Sequence[int]
    geometry: Geometry


@dataclass
class AlignReport:
    """What `align_manifest` did.

    Attributes:
        out: the table.
        num_clips: clips of the manifest.
        num_segments: segments of glosses.
        num_blanks: segments of blanks.
        num_grown: segments that were widened over blanks.
        num_single_steps: segments of one step before growth.
        num_unknown: segments of glosses that the model doesn't have.
        mean_posterior: mean over the known segments.
        problems: clip → why it has no segments.
        is_old: the table was there already.
    """

    out: str
    num_clips: int = 0
    num_segments: int = 0
    num_blanks: int = 0
    num_grown: int = 0
    num_single_steps: int = 0
    num_unknown: int = 0
    mean_posterior: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    is_old: bool = False

    @classmethod
    def of(cls, out: Path, rows: Sequence[Segment], num_clips: int, problems: dict[str, str]) -> AlignReport:
        """Count the rows of a table."""
        signs = [row for row in rows if row.index >= 0]
        known = [row.mean_posterior for row in signs if row.known]
        return cls(
            out=str(out),
            num_clips=num_clips,
            num_segments=len(signs),
            num_blanks=len(rows) - len(signs),
            num_grown=sum(row.grown for row in signs),
            num_single_steps=sum(row.num_steps == 1 for row in signs),
            num_unknown=len(signs) - len(known),
            mean_posterior=float(np.mean(known)) if known else 0.0,
            problems=problems,
        )


class Aligner:
    """A recogniser that says where the glosses of a clip are.

    Args:
        stored: a bundle of a kind in `slr.medium.KINDS`.
        device: cpu, cuda or cuda:N.
        cutting: how segments are cut.

    Raises:
        ArtefactError: the bundle holds another kind of model, or lacks a part.
    """

    def __init__(self, stored: Bundle, *, device: str = "cpu", cutting: Cutting | None = None) -> None:
        if stored.kind not in KINDS:
            known = ", ".join(KINDS)
            raise ArtefactError(f"{stored.folder}: a model of kind '{stored.kind}', not one of {known}; name another")
        if stored.vocabulary is None or "rate_hz" not in stored.info:
            raise ArtefactError(f"{stored.folder}: has no vocabulary or no rate_hz; export the model again")
        self.vocabulary = stored.vocabulary
        self.name, self.digest = str(stored.info.get("name", stored.kind)), stored.digest
        self.rate_hz = float(stored.info["rate_hz"])
        self.cutting = cutting or Cutting()
        self.device = device
        module: Any = build_model(stored).to(device).eval()
        self.model = module
        self.needs = needs_of(stored, self.model, self.rate_hz)
        self.stride = int(self.model.stride)
        self.priors: LabelPriors | None = None

    def learn_priors(self, clips: Sequence[Clip]) -> None:
        """Take the label priors of `Cutting.prior_alpha` from what the model says of some clips."""
        if not self.cutting.prior_alpha:
            return
        priors = LabelPriors(self.vocabulary.size, alpha=self.cutting.prior_alpha).to(self.device)
        for chunk in self._batches(clips[:_PRIOR_CLIPS]):
            for items in _alike(chunk):
                priors.observe(*self._posteriors(items))
        priors.refresh()
        self.priors = priors

    def __call__(self, clips: Sequence[Clip], *, corpus: str) -> Iterator[Aligned]:
        """Align clips; their order is not kept.

        Args:
            clips: rows with glosses, length and rate.
            corpus: name that the segments get.

        Raises:
            ArtefactError: the model gives NaN.
        """
        by_id = {clip.id: clip for clip in clips}
        for chunk in self._batches(clips):
            yield from (rest for rest in chunk if isinstance(rest, Aligned))
            for items in _alike(chunk):
                yield from self._align(items, by_id, corpus)

    def _align(self, items: Sequence[SignItem], by_id: dict[str, Clip], corpus: str) -> Iterator[Aligned]:
        log_probs, num_steps = self._posteriors(items)
        if self.priors is not None:
            log_probs = self.priors.divide(log_probs)
        edge = first_edge_frames(self.model, self.stride)
        wanted = [
            Wanted(item.id, item.text.split(), item.labels, Geometry(self.stride, edge, len(item.inputs)))
            for item in items
        ]
        found = find_segments(log_probs, num_steps, wanted, corpus=corpus, cutting=self.cutting)
        for item, segments in zip(items, found, strict=True):
            if isinstance(segments, str):
                yield Aligned(by_id[item.id], [], segments)
            else:
                yield Aligned(by_id[item.id], segments)

    def _posteriors(self, items: Sequence[SignItem]) -> tuple[Tensor, Tensor]:
        """(B, T, V) float32 natural log, and (B,) int64 steps, on the device."""
        batch = collate(items).to(self.device)
        streams = {} if batch.points is None or self.needs.reads != "frames+keypoints" else {"points": batch.points}
        with torch.inference_mode():
            encoded = self.model(batch.inputs, batch.num_frames, **streams)
        log_probs = encoded.log_probs.float()
        inside = torch.arange(log_probs.shape[1], device=log_probs.device) < encoded.num_steps[:, None]
        if bool((log_probs.amax(2).isnan() & inside).any()):
            raise ArtefactError(f"{self.name}: the model gave NaN; train it again or use --device cpu")
        return log_probs, encoded.num_steps

    def _batches(self, clips: Sequence[Clip]) -> Iterator[list[SignItem | Aligned]]:
        """Clips of similar length, read ahead in threads."""
        order = sorted(clips, key=_seconds)
        groups = _grouped(order, self.rate_hz, BUDGET_FRAMES.get(self.needs.reads, _BUDGET_FRAMES))
        waiting: deque[list[Future[SignItem | Aligned]]] = deque()
        with ThreadPoolExecutor(_READERS) as pool:
            for group in groups:
                waiting.append([pool.submit(self._read, clip) for clip in group])
                if len(waiting) > 1:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]

    def _read(self, clip: Clip) -> SignItem | Aligned:
        glosses = clip.text.split()
        if not glosses:
            return Aligned(clip, [], "it has no gloss")
        try:
            reading = read_clip(clip, needs=self.needs)
        except (UserError, OSError) as error:
            return Aligned(clip, [], " ".join(str(error).split()))
        labels = [STAR if self.vocabulary.unknown(gloss) else self.vocabulary.encode(gloss)[0] for gloss in glosses]
        return SignItem(clip.id, reading.inputs, labels, text=" ".join(glosses), points=reading.points)


def find_segments(
    log_probs: Tensor, num_steps: Tensor, wanted: Sequence[Wanted], *, corpus: str, cutting: Cutting
) -> list[list[Segment] | str]:
    """Align and cut a batch; a clip without a path gives the reason instead of segments.

    Args:
        log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
        num_steps: (B,) int64.
        wanted: of each clip.
        corpus: name that the segments get.
        cutting: how segments are cut.
    """
    rows = [torch.tensor(one.labels, dtype=torch.int64) for one in wanted]
    found = align(
        log_probs, num_steps, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        torch.tensor([len(row) for row in rows]), on_infeasible="none", ids=[one.clip for one in wanted],
        star_penalty=cutting.star_penalty,
    )  # fmt: skip
    blank = log_probs[:, :, 0].exp().cpu().numpy()
    rivals = np.zeros(blank.shape, dtype=np.int64)
    if log_probs.shape[2] > 1:
        rivals = (log_probs[:, :, 1:].max(2).indices + 1).cpu().numpy()
    sizes = num_steps.tolist()
    uncut = [
        Uncut(one.clip, one.glosses, alignment, blank[place, :size], rivals[place, :size], one.geometry)
        for place, (one, alignment, size) in enumerate(zip(wanted, found, sizes, strict=True))
        if alignment is not None
    ]
    cuts = iter(cut_all(uncut, corpus=corpus, cutting=cutting))
    return [
        _reason(one, size) if alignment is None else next(cuts)
        for one, alignment, size in zip(wanted, found, sizes, strict=True)
    ]


def _reason(wanted: Wanted, num_steps: int) -> str:
    needed = min_steps(wanted.labels)
    if needed > num_steps:
        return f"its {len(wanted.labels)} glosses need {needed} steps, it has {num_steps}"
    return "the model rules its glosses out"


def _alike(chunk: Sequence[SignItem | Aligned]) -> Iterator[list[SignItem]]:
    """The clips that were read, those with keypoints beside their frames apart from those without."""
    for with_points in (True, False):
        items = [item for item in chunk if isinstance(item, SignItem) and (item.points is not None) == with_points]
        if items:
            yield items


def _seconds(clip: Clip) -> float:
    """Its length; of a clip that doesn't say it, endless."""
    return math.inf if clip.duration_seconds is None else clip.duration_seconds


def _grouped(clips: Sequence[Clip], rate_hz: float, budget: int) -> Iterator[list[Clip]]:
    """Clips whose padded length stays within a budget of frames; they come shortest first."""
    group: list[Clip] = []
    for clip in clips:
        if group and _seconds(clip) * rate_hz * (len(group) + 1) > budget:
            yield group
            group = []
        group.append(clip)
    if group:
        yield group


def align_manifest(
    run: str | Path,
    manifest: str | Path,
    out: str | Path,
    *,
    corpus: str = "",
    language: str = "",
    cutting: Cutting | None = None,
    device: str = "cpu",
    limit: int | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> AlignReport:
    """Align a manifest and write its table; goes on where it was killed, and does nothing where it is done.

    Args:
        run: run or bundle folder of a recogniser.
        manifest: clips with glosses.
        out: the table, NAME.parquet.
        corpus: name of the corpus; "" takes the manifest's folder.
        language: name of its dictionary; "" takes the clips' language, or the corpus.
        cutting: how segments are cut.
        device: auto, cpu, cuda or cuda:N.
        limit: take at most so many clips.
        overwrite: replace a table of other inputs.
        quiet: no progress on stderr.

    Raises:
        ArtefactError: the table or its parts are of another model, manifest or settings.
        UserError: no clip of the manifest could be aligned.
    """
    out, manifest = Path(out), Path(manifest)
    if out.suffix != ".parquet":
        raise UserError(f"{out}: the table is a Parquet file; call it {out.name}.parquet")
    stored = bundle.load(run)
    cutting = cutting or Cutting()
    clips = list(manifests.read(manifest))[:limit]
    corpus = corpus or manifest.resolve().parent.name
    header = SegmentsHeader(
        corpus=corpus,
        language=language or next((clip.language for clip in clips if clip.language), corpus),
        manifest=str(manifest),
        manifest_sha256=manifests.file_hash(manifest),
        model=str(stored.info.get("name", stored.kind)),
        model_sha256=stored.digest,
        rate_hz=float(stored.info.get("rate_hz", 25.0)),
        stride=int(stored.info.get("stride", 1)),
        settings={**dataclasses.asdict(cutting), "limit": limit},
    )
    problems_path = out.with_name(f"{out.name}.problems.json")
    if out.exists() and not overwrite and _is_same(out, header):
        old = read_json(problems_path) if problems_path.exists() else {}
        report = AlignReport.of(out, read_segments(out).rows, len(clips), old)
        return dataclasses.replace(report, is_old=True)
    aligner = Aligner(stored, device=command.pick_device(device), cutting=cutting)
    parts = Parts(out, _facts(header), suffix=".parquet")
    with parts.open(overwrite=overwrite):
        rows, problems = _fill(parts, aligner, clips, header, quiet=quiet)
        if not rows:
            first = next(iter(problems.items()), ("", "the manifest is empty"))
            parts.remove()
            raise UserError(f"{manifest}: no clip could be aligned; the first, '{first[0]}': {first[1]}")
        write_segments(out, header, rows)
        if problems:
            write_json(problems_path, problems)
        else:
            problems_path.unlink(missing_ok=True)
        parts.remove()
    return AlignReport.of(out, rows, len(clips), problems)


def _is_same(out: Path, header: SegmentsHeader) -> bool:
    found, wanted = _facts(read_segments(out).header), _facts(header)
    if found != wanted:
        raise ArtefactError(
            f"{out}: holds segments of {difference(found, wanted)}; give another name, or --overwrite to replace it"
        )
    return True


def _facts(header: SegmentsHeader) -> dict[str, Any]:
    """The header in plain values, without the path of the manifest, which may move."""
    facts = dataclasses.asdict(header)
    del facts["manifest"]
    return facts


def _fill(
    parts: Parts, aligner: Aligner, clips: Sequence[Clip], header: SegmentsHeader, *, quiet: bool
) -> tuple[list[Segment], dict[str, str]]:
    """Rows in the order of the manifest, and what went wrong."""
    numbers = range(-(-len(clips) // CLIPS_A_PART))
    todo = [number for number in numbers if not parts.path(number).exists()]
    if todo:
        aligner.learn_priors(clips)

    def work() -> Iterator[Aligned]:
        for number in todo:
            part = clips[number * CLIPS_A_PART : (number + 1) * CLIPS_A_PART]
            done: dict[str, Aligned] = {}
            for aligned in aligner(part, corpus=header.corpus):
                done[aligned.clip.id] = aligned
                yield aligned
            problems = {clip.id: done[clip.id].problem for clip in part if done[clip.id].problem}
            settings = {**header.settings, "problems": problems}
            rows = [row for clip in part for row in done[clip.id].segments]
            write_segments(parts.path(number), dataclasses.replace(header, settings=settings), rows)

    total = sum(len(clips[number * CLIPS_A_PART : (number + 1) * CLIPS_A_PART]) for number in todo)
    for _ in command.progress(work(), "aligning", total=total, quiet=quiet):
        pass
    rows: list[Segment] = []
    problems: dict[str, str] = {}
    for number in numbers:
        part = read_segments(parts.path(number))
        rows += part.rows
        problems |= part.header.settings["problems"]
    return rows, problems
