"""`slr align` as a whole: batches, clips that can't be aligned, killed runs, other inputs, both commands."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from signwave import bundle, command, manifest
from signwave.batch import Encoded
from signwave.ctc import STAR, align, min_steps
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from slr import cli
from slr.crosslingual import aligning
from slr.crosslingual.aligning import Aligner, Wanted, align_manifest, find_segments
from slr.crosslingual.cutting import Cutting, Geometry
from slr.crosslingual.segments import BLANK_GLOSS, Segment, read_segments
from slr.decoding import grow_spans
from slr.medium import ISOLATED_KIND

sys.path.insert(0, str(Path(__file__).parents[1]))
TINY = importlib.import_module("tiny_signs")

GLOSSES = ("A B", "C", "D A D", "B B", "A", "C D", "B A C", "D", "A C", "B D", "C A")
LENGTHS = (40, 24, 61, 33, 28, 52, 44, 24, 36, 57, 30)
PLAIN = Cutting(grow=False, min_frames=1, min_blank_steps=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained model of frames, stride 4."""
    return TINY.save_tiny(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of eleven clips of different lengths."""
    folder = tmp_path_factory.mktemp("made")
    for seed, num_frames in enumerate(LENGTHS):
        TINY.write_moving(folder / f"{seed}.mp4", num_frames, seed=seed)
    return _manifest(folder / "train.jsonl.gz", [_clip(place) for place in range(len(LENGTHS))])


def _clip(place: int, **changes: Any) -> Clip:
    row = {"num_frames": LENGTHS[place], "rate_hz": 25.0, "text": GLOSSES[place], "language": "made", **changes}
    return Clip(**{"id": f"clip{place}", "path": f"{place}.mp4", "kind": "video", **row})


def _manifest(path: Path, clips: Sequence[Clip]) -> Path:
    manifest.write(path, clips)
    return path


def _beside(corpus: Path, name: str, clips: Sequence[Clip]) -> Path:
    """Another manifest of the same media."""
    return _manifest(corpus.with_name(name), clips)


def _aligner(run: Path, cutting: Cutting | None = None) -> Aligner:
    return Aligner(bundle.load(run), cutting=cutting)


def _alone(aligner: Aligner, clip: Clip) -> tuple[Tensor, int]:
    """(T', V) log posteriors of a clip by itself, and its frames."""
    pixels = aligning.read_clip(clip, needs=aligner.needs).inputs
    with torch.inference_mode():
        found = aligner.model(torch.from_numpy(pixels.copy())[None], torch.tensor([len(pixels)]))
    return found.log_probs[0, : int(found.num_steps[0])], len(pixels)


def _best_path(log_probs: Tensor, labels: Sequence[int]) -> tuple[float, list[tuple[int, int]]]:
    """Score and spans of the best of all paths through the labels, without any dynamic programming."""
    values = log_probs.double().tolist()
    best: float = -math.inf
    best_path: tuple[int, ...] = ()
    for path in itertools.product(sorted({0, *labels}), repeat=len(values)):
        if [token for token, _ in itertools.groupby(path) if token] == list(labels):
            score = sum(row[token] for row, token in zip(values, path))
            if score > best:
                best, best_path = score, path
    spans, step = [], 0
    for token, group in itertools.groupby(best_path):
        size = len(list(group))
        spans += [(step, step + size)] if token else []
        step += size
    return best, spans


# From posteriors to segments


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=4))
def test_equally_good_ways_do_not_lead_astray(seed: int, labels: list[list[int]]) -> None:
    """Posteriors of few values, as half precision has them, make ties, at which torchaudio takes a worse path."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(3, 7, (len(labels),), generator=generator)
    values = torch.tensor([0.1, 0.2, 0.4]).log()[torch.randint(0, 3, (len(labels), 6, 4), generator=generator)]
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in labels], batch_first=True)
    counts = torch.tensor([len(row) for row in labels])
    for backend in ("auto", "torch"):
        found = align(values, sizes, rows, counts, on_infeasible="none", backend=backend)  # type: ignore[arg-type]
        for item, (row, size) in enumerate(zip(labels, sizes.tolist(), strict=True)):
            best, _ = _best_path(values[item, :size], row)
            alignment = found[item]
            assert (alignment is None) == (best == -math.inf)
            if alignment is not None:
                assert alignment.score == pytest.approx(best, abs=1e-5)
                edges = list(itertools.chain.from_iterable(alignment.steps))
                assert edges == sorted(edges)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    labels=st.lists(st.lists(st.sampled_from([STAR, 1, 2, 3]), min_size=1, max_size=6), min_size=1, max_size=4),
    cutting=st.builds(Cutting, grow=st.booleans(), min_frames=st.integers(1, 9), min_blank_steps=st.integers(0, 3)),
)
def test_segments_of_a_batch(seed: int, labels: list[list[int]], cutting: Cutting) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = (3 * torch.randn((len(labels), 14, 4), generator=generator)).log_softmax(-1)
    sizes = torch.randint(1, 15, (len(labels),), generator=generator)
    sizes[seed % len(labels)] = 14
    log_probs[torch.arange(14) >= sizes[:, None]] = math.nan  # nobody may look at padding
    wanted = [
        Wanted(f"c{item}", [f"g{gloss}" for gloss in row], row, Geometry(4, -2.0, 4 * size - 1))
        for item, (row, size) in enumerate(zip(labels, sizes.tolist()))
    ]
    found = find_segments(log_probs, sizes, wanted, corpus="made", cutting=cutting)
    for item, (one, segments, size) in enumerate(zip(wanted, found, sizes.tolist(), strict=True)):
        (alone,) = find_segments(
            log_probs[item : item + 1, :size], torch.tensor([size]), [one], corpus="made", cutting=cutting
        )
        assert segments == alone
        if min_steps(one.labels) > size:
            assert segments == f"its {len(one.labels)} glosses need {min_steps(one.labels)} steps, it has {size}"
            continue
        assert not isinstance(segments, str)
        signs = [row for row in segments if row.index >= 0]
        assert [(row.index, row.gloss) for row in signs] == list(enumerate(one.glosses))
        assert [row.known for row in signs] == [label != STAR for label in one.labels]
        assert all(row.start_frame < row.end_frame for row in signs)
        assert all(left.end_frame <= right.start_frame for left, right in itertools.pairwise(segments))
        assert segments[0].start_frame >= 0
        assert segments[-1].end_frame <= one.geometry.num_frames
        blanks = [row for row in segments if row.index < 0]
        assert all(row.gloss == BLANK_GLOSS and row.num_steps >= cutting.min_blank_steps for row in blanks)
        assert not blanks or cutting.min_blank_steps


def test_hard_clips_do_not_underflow() -> None:
    """400 frames in which the path's posteriors are 0.001: their product, as the published method takes it, is 0."""
    assert np.prod(np.full(100, 1e-3, dtype=np.float32)) == 0
    vocab_size, labels, starts = 1296, [5, 9, 9, 1200], [10, 40, 44, 90]
    probs = torch.full((1, 100, vocab_size), 1e-6)
    probs[0, :, 77] = 0.99  # the model is sure of a gloss that isn't signed
    probs[0, :, 0] = 1e-3
    for label, start in zip(labels, starts):
        probs[0, start : start + 3, 0] = 1e-6
        probs[0, start : start + 3, label] = 1e-3
    wanted = [Wanted("hard", ["A", "B", "B", "C"], labels, Geometry(4, 0.0, 400))]
    (found,) = find_segments(probs.log(), torch.tensor([100]), wanted, corpus="made", cutting=PLAIN)
    assert not isinstance(found, str)
    assert [(row.start_frame, row.end_frame) for row in found] == [(4 * start, 4 * start + 12) for start in starts]
    assert [row.min_posterior for row in found] == pytest.approx([1e-3] * 4)
    (alignment,) = align(probs.log(), torch.tensor([100]), torch.tensor([labels]), torch.tensor([4]))
    assert alignment is not None
    assert alignment.score == pytest.approx(100 * math.log(1e-3), rel=1e-5)


@pytest.mark.gpu
def test_segments_on_the_gpu() -> None:
    generator = torch.Generator().manual_seed(0)
    log_probs = (3 * torch.randn((6, 300, 50), generator=generator)).log_softmax(-1)
    sizes = torch.tensor([300, 290, 120, 60, 41, 7])
    labels = [torch.randint(1, 50, (n,), generator=generator).tolist() for n in (60, 20, 30, 10, 5, 9)]
    labels[1][3] = STAR
    wanted = [
        Wanted(f"{item}", ["X"] * len(row), row, Geometry(4, -2.0, 4 * int(size)))
        for item, (row, size) in enumerate(zip(labels, sizes))
    ]
    ours, theirs = (
        find_segments(values, sizes.to(values.device), wanted, corpus="made", cutting=Cutting())
        for values in (log_probs, log_probs.cuda())
    )
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one, str) == isinstance(other, str)
        for row, same in zip(one, other, strict=True):
            if isinstance(row, Segment) and isinstance(same, Segment):
                assert row._replace(mean_posterior=0, min_posterior=0) == same._replace(
                    mean_posterior=0, min_posterior=0
                )
                assert row.mean_posterior == pytest.approx(same.mean_posterior, abs=1e-5)


# From clips to segments


def test_clips_lie_where_the_best_of_all_paths_has_them(run: Path, corpus: Path) -> None:
    aligner = _aligner(run, Cutting(min_frames=1, min_blank_steps=1))
    clips = [clip for clip in manifest.read(corpus) if (clip.num_frames or 0) <= 33]
    found = {aligned.clip.id: aligned for aligned in aligner(clips, corpus="made")}
    assert set(found) == {clip.id for clip in clips}
    for clip in clips:
        log_probs, num_frames = _alone(aligner, clip)
        glosses = clip.text.split()
        labels = [aligner.vocabulary.encode(gloss)[0] for gloss in glosses]
        _, path = _best_path(log_probs, labels)
        rivals = (log_probs[:, 1:].argmax(1) + 1).numpy()
        grown = grow_spans(path, labels, rivals)
        frames = [tuple(min(max(4 * step - 2, 0), num_frames) for step in span) for span in grown]
        signs = [row for row in found[clip.id].segments if row.index >= 0]
        assert [(row.start_frame, row.end_frame) for row in signs] == frames
        assert [row.gloss for row in signs] == glosses
        for row, label, (start, end) in zip(signs, labels, path, strict=True):
            assert row.mean_posterior == pytest.approx(float(log_probs[start:end, label].exp().mean()), rel=1e-4)


def test_batches_change_nothing(run: Path, corpus: Path) -> None:
    clips = list(manifest.read(corpus))
    aligner = _aligner(run)
    together = {aligned.clip.id: aligned.segments for aligned in aligner(clips, corpus="made")}
    for clip in clips:
        (alone,) = aligner([clip], corpus="made")
        assert [row[:6] + row[8:] for row in together[clip.id]] == [row[:6] + row[8:] for row in alone.segments]
        for row, same in zip(together[clip.id], alone.segments, strict=True):
            assert row[6:8] == pytest.approx(same[6:8], rel=1e-4)


def test_priors_take_from_the_blank(run: Path, corpus: Path, tmp_path: Path) -> None:
    reports = [
        align_manifest(run, corpus, tmp_path / f"{alpha}.parquet", cutting=Cutting(prior_alpha=alpha))
        for alpha in (0.0, 0.5)
    ]
    aligner = _aligner(run, Cutting(prior_alpha=0.5))
    aligner.learn_priors(list(manifest.read(corpus)))
    assert aligner.priors is not None
    by_hand = torch.cat([_alone(aligner, clip)[0] for clip in manifest.read(corpus)]).exp().mean(0)
    assert aligner.priors.log_priors.exp().tolist() == pytest.approx(by_hand.tolist(), rel=1e-4)
    assert reports[0].mean_posterior != reports[1].mean_posterior
    rows = read_segments(tmp_path / "0.5.parquet").rows
    found = [row for aligned in aligner(list(manifest.read(corpus)), corpus=rows[0].corpus) for row in aligned.segments]
    assert sorted((row.clip, row.start_frame) for row in found) == sorted((row.clip, row.start_frame) for row in rows)


def test_keypoints_of_a_clip_count_whoever_is_in_its_batch(tmp_path: Path, corpus: Path, write_pose: Any) -> None:
    """A clip without keypoints used to take those of its batch away."""
    run = TINY.save_tiny(tmp_path / "both", kind="slr.tiny_both", reads="frames+keypoints")
    write_pose(tmp_path / "a.pose", [3, 1, 4, 1])
    clips = [
        dataclasses.replace(clip, poses_path=str(tmp_path / "a.pose") if place % 2 else "")
        for place, clip in enumerate(manifest.read(corpus))
    ]
    aligner = _aligner(run)
    together = {aligned.clip.id: aligned for aligned in aligner(clips, corpus="made")}
    plain = {aligned.clip.id: aligned for aligned in aligner(list(manifest.read(corpus)), corpus="made")}
    different = 0
    for clip in clips:
        (alone,) = aligner([clip], corpus="made")
        assert [row[:6] for row in together[clip.id].segments] == [row[:6] for row in alone.segments]
        different += together[clip.id].segments[0][6:8] != pytest.approx(plain[clip.id].segments[0][6:8], rel=1e-3)
    assert different  # the keypoints do say something


def test_clips_of_unknown_length_come_one_by_one(run: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They used to count as empty, and so went through the model all at once."""
    clips = list(manifest.read(corpus))
    unknown = [dataclasses.replace(clip, num_frames=None) for clip in clips[:4]]
    sizes: list[int] = []
    aligner = _aligner(run)
    posteriors = aligner._posteriors

    def counted(items: Any) -> Any:
        sizes.append(len(items))
        return posteriors(items)

    monkeypatch.setattr(aligner, "_posteriors", counted)
    found = list(aligner([*unknown, *clips[4:]], corpus="made"))
    assert not any(aligned.problem for aligned in found)
    assert sizes[-4:] == [1, 1, 1, 1]
    assert sum(sizes) == len(clips)


class Broken(nn.Module):
    """Every token alike, and NaN: past the end of a clip or, of clips of 24 frames, inside."""

    reads, stride = "frames", 4

    def __init__(self, *, vocab_size: int, inside: bool) -> None:
        super().__init__()
        self.inside = inside
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, inputs: Tensor, num_frames: Tensor) -> Encoded:
        num_steps = (num_frames + 3) // 4
        size = int(num_steps.max())
        log_probs = self.bias.log_softmax(0).expand(len(inputs), size, -1).clone()
        log_probs[torch.arange(size) >= num_steps[:, None]] = math.nan
        if self.inside:
            log_probs[num_frames == 24, 5] = math.nan
        return Encoded(log_probs, num_steps)


@pytest.mark.parametrize("inside", [False, True])
def test_nan_is_an_error_inside_a_clip_only(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setattr(TINY, "Broken", Broken, raising=False)
    monkeypatch.setitem(aligning.KINDS, "slr.broken", TINY.Kind("tiny_signs", "Broken", "frames"))
    config = {"vocab_size": TINY.VOCABULARY.size, "inside": inside}
    facts = {"name": "broken", "rate_hz": 25.0, "stride": 4, "size_px": [16, 24]}
    bundle.save(
        tmp_path / "run" / "bundle", kind="slr.broken", model=Broken(**config), config=config,  # type: ignore[arg-type]
        vocabulary=TINY.VOCABULARY, info=facts,
    )  # fmt: skip
    if inside:
        with pytest.raises(ArtefactError, match="broken: the model gave NaN; train it again"):
            align_manifest(tmp_path / "run", corpus, tmp_path / "x.parquet")
    else:
        assert not align_manifest(tmp_path / "run", corpus, tmp_path / "x.parquet").problems


# Killed, run again, other inputs


# Imports once, then forks a run for each line; it says "stalled" in the middle of its second part and goes no further.
FORKING_RUN = """
import os, sys, time
sys.path[:0] = [sys.argv[1]]
import av, pyarrow.parquet, tiny_signs, torch
from slr.crosslingual import aligning
torch.set_num_threads(1)
aligning.CLIPS_A_PART = 2
find, calls = aligning.find_segments, iter((False, True))
def stalling(*arguments, **options):
    if next(calls):
        print("stalled", flush=True)
        time.sleep(600)
    return find(*arguments, **options)
aligning.find_segments = stalling
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
        aligning.align_manifest(*sys.argv[2:5])
        os._exit(1)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def test_a_killed_run_goes_on_where_it_was(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aligning, "CLIPS_A_PART", 2)
    align_manifest(run, corpus, tmp_path / "whole.parquet")
    out, parts = tmp_path / "killed.parquet", tmp_path / "killed.parquet.parts"
    rng = random.Random(0)
    there: dict[str, int] = {}
    arguments = [str(Path(TINY.__file__).parent), str(run), str(corpus), str(out)]
    with subprocess.Popen(
        [sys.executable, "-c", FORKING_RUN, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runs:
        assert runs.stdin is not None
        assert runs.stdout is not None
        for kill in range(5):
            runs.stdin.write("go\n")
            runs.stdin.flush()
            child = int(runs.stdout.readline())
            if kill % 2:
                time.sleep(rng.uniform(0, 0.2))
            else:
                assert runs.stdout.readline() == "stalled\n"
            os.kill(child, signal.SIGKILL)
            while runs.stdout.readline() != "dead\n":
                pass
            assert not out.exists()
            before, there = there, {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
            assert before.items() <= there.items()  # none was made again
            for name in there:
                read_segments(parts / name)
        runs.stdin.close()
    assert 3 <= len(there) <= 5
    read: list[str] = []
    read_clip = aligning.read_clip

    def counted(clip: Clip, **options: Any) -> Any:
        read.append(clip.id)
        return read_clip(clip, **options)

    monkeypatch.setattr(aligning, "read_clip", counted)
    report = align_manifest(run, corpus, out)
    done = {int(name.removesuffix(".parquet")) for name in there}
    assert sorted(read) == sorted(f"clip{place}" for place in range(len(LENGTHS)) if place // 2 not in done)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not parts.exists()
    assert (report.num_clips, report.num_segments) == (len(LENGTHS), sum(len(text.split()) for text in GLOSSES))
    clips = [clip for clip, _ in itertools.groupby(read_segments(out).rows, key=lambda row: row.clip)]
    assert clips == [f"clip{place}" for place in range(len(LENGTHS))]  # though they were aligned by length


def test_done_is_done(run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "table.parquet"
    first = align_manifest(run, corpus, out)
    assert not first.is_old
    content = out.read_bytes()

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(aligning, "read_clip", never)
    monkeypatch.setattr(aligning, "Aligner", never)
    again = align_manifest(run, corpus, out)
    assert again.is_old
    assert dataclasses.replace(again, is_old=False) == first
    assert out.read_bytes() == content
    moved = tmp_path / "elsewhere" / "train.jsonl.gz"  # the same rows by another path
    moved.parent.mkdir()
    moved.write_bytes(corpus.read_bytes())
    assert align_manifest(run, moved, out, corpus=corpus.parent.name).is_old
    with pytest.raises(AssertionError, match="computed again"):
        align_manifest(run, corpus, out, overwrite=True)


def test_other_inputs_are_refused_by_what_differs(run: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    align_manifest(run, corpus, out, corpus="made")
    content = out.read_bytes()
    other_run = TINY.save_tiny(tmp_path / "other", whole=True)
    fewer = _beside(corpus, "fewer.jsonl.gz", list(manifest.read(corpus))[:5])
    cases: list[tuple[tuple[Path, Path], dict[str, Any], str]] = [
        ((other_run, corpus), {}, r"another model \([0-9a-f]{8}…, not [0-9a-f]{8}…\)"),
        ((run, fewer), {}, r"another manifest \([0-9a-f]{8}…, not [0-9a-f]{8}…\)"),
        ((run, corpus), {"cutting": Cutting(min_frames=7)}, r"another min frames \(5, not 7\)"),
        ((run, corpus), {"limit": 3}, r"another limit \(None, not 3\)"),
        ((run, corpus), {"language": "gsg"}, r"another language \(made, not gsg\)"),
    ]
    for inputs, options, message in cases:
        with pytest.raises(
            ArtefactError, match=rf"table\.parquet: holds segments of {message}; .*--overwrite"
        ) as caught:
            align_manifest(*inputs, out, corpus="made", **options)
        assert "\n" not in str(caught.value)
        assert out.read_bytes() == content
    report = align_manifest(run, fewer, out, corpus="made", overwrite=True)
    assert (report.num_clips, report.is_old) == (5, False)
    assert align_manifest(run, fewer, out, corpus="made").is_old


def test_parts_of_other_inputs_are_refused_by_what_differs(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aligning, "CLIPS_A_PART", 2)
    out = tmp_path / "table.parquet"
    find, calls = aligning.find_segments, itertools.count()

    def fails(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return find(*arguments, **options)

    monkeypatch.setattr(aligning, "find_segments", fails)
    with pytest.raises(KeyboardInterrupt):
        align_manifest(run, corpus, out)
    monkeypatch.setattr(aligning, "find_segments", find)
    parts = tmp_path / "table.parquet.parts"
    assert list(parts.glob("*.parquet"))
    longer = Cutting(min_frames=9)
    with pytest.raises(
        ArtefactError, match=r"unfinished work with another min frames \(5, not 9\); finish it as it was"
    ):
        align_manifest(run, corpus, out, cutting=longer)
    with (
        aligning.Parts(out, {}, suffix=".parquet").open(overwrite=True),
        pytest.raises(ArtefactError, match="locked by pid"),
    ):
        align_manifest(run, corpus, out)
    align_manifest(run, corpus, out, cutting=longer, overwrite=True)
    align_manifest(run, corpus, tmp_path / "fresh.parquet", cutting=longer)
    assert out.read_bytes() == (tmp_path / "fresh.parquet").read_bytes()
    assert not parts.exists()


# The commands


def _slr(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["slr", *map(str, arguments)])
    return cli.main()


def test_what_cannot_be_aligned_takes_nothing_with_it(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = list(manifest.read(corpus))
    (corpus.parent / "broken.mp4").write_bytes(b"no film")
    mixed = _beside(corpus, "mixed.jsonl.gz", [
        dataclasses.replace(clips[0], text="A NEW B"),
        dataclasses.replace(clips[1], text="A A A A B B"),
        dataclasses.replace(clips[2], path="gone.mp4"),
        dataclasses.replace(clips[3], path="broken.mp4"),
        dataclasses.replace(clips[4], text=" "),
        *clips[5:],
    ])  # fmt: skip
    out = tmp_path / "mixed.parquet"
    arguments = ["align", run, mixed, out, "--corpus", "made", "--device", "cpu"]
    assert _slr(monkeypatch, *arguments, "--json") == command.EXIT_SOME_FAILED
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    problems = document["problems"]
    assert list(problems) == ["clip1", "clip2", "clip3", "clip4"]
    assert problems["clip1"] == "its 6 glosses need 10 steps, it has 6"
    assert "gone.mp4" in problems["clip2"]
    assert "broken.mp4" in problems["clip3"]
    assert problems["clip4"] == "it has no gloss"
    assert all("\n" not in reason for reason in problems.values())
    assert "not aligned: clip1: its 6 glosses need 10 steps" in shown.err
    assert "Traceback" not in shown.err
    assert document["num_unknown"] == 1
    rows = read_segments(out).rows
    new = [row for row in rows if row.clip == "clip0" and row.index >= 0]
    assert [(row.gloss, row.known) for row in new] == [("A", True), ("NEW", False), ("B", True)]
    assert not new[1].grown
    _slr(monkeypatch, "align", run, corpus, tmp_path / "all.parquet", "--corpus", "made", "--device", "cpu", "-q")
    whole = read_segments(tmp_path / "all.parquet").rows
    later = {f"clip{place}" for place in range(5, len(LENGTHS))}
    for ours, theirs in itertools.zip_longest(*([row for row in part if row.clip in later] for part in (rows, whole))):
        assert ours[:6] == theirs[:6]
    capsys.readouterr()
    assert _slr(monkeypatch, *arguments) == command.EXIT_SOME_FAILED  # still, though nothing is done
    assert "4 clips not aligned; it was there already" in capsys.readouterr().out


def test_nothing_to_align_is_an_error(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [dataclasses.replace(clip, text="A A A A B B C C C C D D D D") for clip in manifest.read(corpus)]
    crowded = _beside(corpus, "crowded.jsonl.gz", clips[:2])
    empty = _beside(corpus, "empty.jsonl.gz", [])
    out = tmp_path / "out.parquet"
    for path, reason in ((crowded, "the first, 'clip0': its 14 glosses need 24 steps, it has 10"), (empty, "is empty")):
        assert _slr(monkeypatch, "align", run, path, out, "-q", "--device", "cpu") == command.EXIT_FAILED
        shown = capsys.readouterr()
        assert reason in shown.err
        assert "Traceback" not in shown.err
        assert shown.err.count("error: ") == 1
        assert list(tmp_path.iterdir()) == []


def test_align_and_score_from_the_command_line(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "new folder" / "made.parquet"
    arguments = ["align", run, corpus, table, "--language", "gsg", "--no-grow", "--limit", "6", "-q"]
    assert _slr(monkeypatch, *arguments, "--min-blank-steps", "0") == command.EXIT_DONE
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{table}: 11 segments of 6 clips (mean posterior 0.")
    assert "0 grown" in shown.out
    assert "0 blanks, 0 clips not aligned\n" in shown.out
    header = read_segments(table).header
    assert (header.corpus, header.language, header.stride, header.rate_hz) == (corpus.parent.name, "gsg", 4, 25.0)
    assert header.settings["limit"] == 6
    reference = tmp_path / "reference.jsonl"
    rows = [
        {"name": name, "num_frames": 100, "gloss": [row.gloss for row in group],
         "segments": [[row.start_frame, row.end_frame] for row in group]}
        for name, group in ((k, list(g)) for k, g in itertools.groupby(read_segments(table).rows, lambda row: row.clip))
    ]  # fmt: skip
    reference.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "name": "another"}]))
    assert _slr(monkeypatch, "align-eval", reference, table, "--json") == command.EXIT_DONE
    document = json.loads(capsys.readouterr().out)
    assert (document["num_clips"], document["num_missing"], document["num_different"]) == (6, 1, 0)
    assert document["rows"]["made.parquet"]["frame_accuracy"] == 1
    assert document["rows"]["uniform"]["frame_accuracy"] < 1
    assert {"proportional", "ceiling at stride 4", "made.parquet, least sure quarter"} <= document["rows"].keys()
    assert _slr(monkeypatch, "align-eval", table, table) == command.EXIT_DONE
    shown = capsys.readouterr()
    assert "made.parquet       " in shown.out
    assert "6 clips, 11 segments" in shown.out
    assert _slr(monkeypatch, "align-eval", reference, "--durations", reference, "--json") == command.EXIT_DONE
    assert list(json.loads(capsys.readouterr().out)["rows"]) == ["uniform", "proportional", "ceiling at stride 4"]


def test_wrong_inputs_are_one_line(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, damaged = tmp_path / "out.parquet", tmp_path / "damaged.parquet"
    align_manifest(run, corpus, tmp_path / "good.parquet", limit=2)
    damaged.write_bytes((tmp_path / "good.parquet").read_bytes()[:-20])
    isolated = tmp_path / "isolated"
    model = TINY.TinySigns(vocab_size=5)
    bundle.save(
        isolated / "bundle",
        kind=ISOLATED_KIND,
        model=model,
        config={},
        vocabulary=TINY.VOCABULARY,
        info={"rate_hz": 25.0},
    )
    bare = tmp_path / "bare"
    bundle.save(bare / "bundle", kind=TINY.KIND, model=model, config={"vocab_size": 5}, info={"rate_hz": 25.0})
    cut_off = tmp_path / "cut.jsonl.gz"
    cut_off.write_bytes(corpus.read_bytes()[:-9])
    before = sorted(tmp_path.iterdir())
    cases: list[tuple[list[object], str]] = [
        (["align", tmp_path / "none", corpus, out], "none"),
        (["align", run, tmp_path / "none.jsonl.gz", out], "no such manifest"),
        (["align", run, cut_off, out], "can't be read"),
        (["align", isolated, corpus, out], f"a model of kind '{ISOLATED_KIND}', not one of"),
        (["align", bare, corpus, out], "has no vocabulary"),
        (["align", run, corpus, tmp_path / "out.csv"], "the table is a Parquet file; call it out.csv.parquet"),
        (["align", run, corpus, damaged], "can't be read as a table"),
        (["align-eval", damaged], "can't be read as a table"),
        (["align-eval", tmp_path / "good.parquet", damaged], "can't be read as a table"),
        (["align-eval", tmp_path / "good.parquet", tmp_path / "none.parquet"], "no such table; make it with"),
        (["align-eval", tmp_path / "none.jsonl"], "can't be read"),
    ]
    for arguments, message in cases:
        assert _slr(monkeypatch, *arguments) == command.EXIT_FAILED, arguments
        shown = capsys.readouterr()
        assert message in shown.err, arguments
        assert shown.err.count("\n") == 1, shown.err
        assert shown.out == ""
    assert _slr(monkeypatch, "align", run, corpus) == command.EXIT_USAGE
    assert _slr(monkeypatch, "align", run, corpus, out, "--min-frames", "0") == command.EXIT_USAGE
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(UserError):
        align_manifest(run, tmp_path / "none.jsonl.gz", out)
