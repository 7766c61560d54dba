"""The files of a corpus, laid out as the official release of Phoenix-2014."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from made_up_signers import drawing, language, motion, skeleton
from made_up_signers.meanings import LANGUAGES
from made_up_signers.poses import write_pose
from made_up_signers.sentences import Sentence, compose
from made_up_signers.signers import Signer, make_signers
from made_up_signers.world import Language

ROOT = "phoenix-2014-multisigner"
SPLITS = ("train", "dev", "test")
_CLIPS_A_BROADCAST = 6


@dataclass(frozen=True)
class CorpusPlan:
    """What to make.

    Attributes:
        num_glosses: vocabulary.
        num_clips: sentences of train, dev and test; clips where each has one performance.
        num_signers: people of the training clips.
        num_unseen_signers: further people, who sign every second test clip.
        width_px: width of the pictures.
        height_px: height of the pictures.
        fps: frames per second.
        seed: other seeds, other people and sentences in the same language.
        keypoints: write `.pose` files too.
        language: what is signed; None is the language of `num_glosses` signs.
        first_year: of the broadcasts; corpora of several languages must not name their clips alike.
        first_signer: number of the first person, likewise.
        performances: people who sign each sentence.
        captions: sentences have a meaning and captions; else they come from the bigram grammar.
        frames: draw pictures.
    """

    num_glosses: int = 12
    num_clips: tuple[int, int, int] = (120, 24, 24)
    num_signers: int = 4
    num_unseen_signers: int = 0
    width_px: int = 64
    height_px: int = 80
    fps: float = 25.0
    seed: int = 0
    keypoints: bool = True
    language: Language | None = None
    first_year: int = 2101
    first_signer: int = 1
    performances: int = 1
    captions: bool = False
    frames: bool = True

    @property
    def spoken(self) -> Language:
        """The language that is signed."""
        return self.language or Language("", language.signs(self.num_glosses), language.Grammar(self.num_glosses))


class ClipPlan(NamedTuple):
    """One clip to make; `number` within its split makes its random numbers its own.

    Without a `sentence` the grammar makes one up.
    """

    id: str
    split: str
    number: int
    signer: int
    sentence: Sentence | None = None


class Made(NamedTuple):
    """One clip that was made."""

    id: str
    split: str
    signer: str
    glosses: tuple[str, ...]
    spans: tuple[motion.Span, ...]
    num_frames: int
    sentence: Sentence | None = None


def clips_of(plan: CorpusPlan) -> list[ClipPlan]:
    """The clips of a corpus; several in a row come from one broadcast, and a broadcast lies in one split.

    Raises:
        TooFewSigns: they don't make so many different sentences with captions.
    """
    found = []
    day = datetime.date(plan.first_year, 1, 3)
    spoken, nums = plan.spoken, dict(zip(SPLITS, plan.num_clips, strict=True))
    written = compose(spoken, nums, seed=plan.seed) if plan.captions else {}
    for split, num_sentences in nums.items():
        people = _people(plan, split)
        for number in range(num_sentences * plan.performances):
            if number % _CLIPS_A_BROADCAST == 0:
                day += datetime.timedelta(days=1)
            name = f"{day:%d%B_%Y_%A}_studio_default-{number % _CLIPS_A_BROADCAST}"
            sentence = written[split][number // plan.performances] if written else None
            found.append(ClipPlan(name, split, number, next(people), sentence))
    return found


def _people(plan: CorpusPlan, split: str) -> Iterator[int]:
    """Who signs the clips of a split, in order; those who perform the same sentence differ."""
    rng = np.random.default_rng([plan.seed, 2, SPLITS.index(split)])
    for number in itertools.count():
        if number % plan.performances == 0:
            taken: set[int] = set()
        # One of the known is drawn in any case, so that the others of a corpus stay who they are.
        signer = _another(range(plan.num_signers), taken, rng)
        if split == "test" and plan.num_unseen_signers and number % 2:
            signer = _another(range(plan.num_signers, plan.num_signers + plan.num_unseen_signers), taken, rng)
        taken.add(signer)
        yield signer


def _another(people: range, taken: set[int], rng: np.random.Generator) -> int:
    """One of the people who aren't taken; of all where they are too few."""
    free = [who for who in people if who not in taken] or list(people)
    return free[int(rng.integers(len(free)))]


def frame_folder(out: Path, split: str, clip_id: str) -> Path:
    """Where the frames of a clip lie; the folder's name stands in every release, whatever the size."""
    return out / ROOT / "features" / "fullFrame-210x260px" / split / clip_id / "1"


def frame_name(clip_id: str, number: int) -> str:
    """Name of one frame, as odd as in the release."""
    return f"{clip_id.rsplit('_default', 1)[0]}.avi_pid0_fn{number:06d}-0.png"


def make_clip(clip: ClipPlan, plan: CorpusPlan, out: Path) -> Made:
    """Draw one clip, write its frames and keypoints.

    Args:
        clip: which.
        plan: sizes and the language.
        out: folder of the corpus.
    """
    rng = np.random.default_rng([plan.seed, 3, SPLITS.index(clip.split), clip.number])
    signer = _signers(plan)[clip.signer]
    spoken = plan.spoken
    sentence = [spoken.signs[i] for i in (clip.sentence.signs if clip.sentence else spoken.grammar.sentence(rng))]
    moved = motion.perform(sentence, signer, fps=plan.fps, rng=rng)
    size = {"width_px": plan.width_px, "height_px": plan.height_px}
    joints = skeleton.pose(moved, signer, **size, fps=plan.fps, rng=rng)
    if plan.frames:
        folder = frame_folder(out, clip.split, clip.id)
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(drawing.draw(joints, signer, **size, rng=rng)):
            picture.save(folder / frame_name(clip.id, number), compress_level=1)
    if plan.keypoints:
        write_pose(out / ROOT / "poses" / clip.split / f"{clip.id}.pose", joints, **size, fps=plan.fps)
    glosses = tuple(sign.gloss for sign in sentence)
    return Made(clip.id, clip.split, signer.name, glosses, tuple(moved.spans), len(moved.hands), clip.sentence)


def _signers(plan: CorpusPlan) -> list[Signer]:
    people = make_signers(plan.num_signers + plan.num_unseen_signers, seed=plan.seed)
    return [replace(who, name=f"Signer{plan.first_signer + number:02d}") for number, who in enumerate(people)]


def make_clips(plan: CorpusPlan, out: Path, *, num_workers: int = 1) -> list[Made]:
    """Make every clip of a corpus, in as many processes; the result doesn't depend on their number."""
    make = partial(make_clip, plan=plan, out=out)
    if num_workers <= 1:
        return [make(clip) for clip in clips_of(plan)]
    with ProcessPoolExecutor(num_workers) as pool:
        return list(pool.map(make, clips_of(plan), chunksize=4))


def write_tables(out: Path, made: Sequence[Made]) -> None:
    """Write the annotation tables, the references for scoring and the true times."""
    for split in SPLITS:
        clips = [clip for clip in made if clip.split == split]
        rows = [f"{c.id}|{c.id}/1/*.png|{c.signer}|{' '.join(c.glosses)}" for c in clips]
        _write_lines(
            out / ROOT / "annotations" / "manual" / f"{split}.corpus.csv", ["id|folder|signer|annotation", *rows]
        )
        lines = [f"{c.id} 1 {c.signer.lower()} 0.0 1.79769e+308 {' '.join(c.glosses)}" for c in clips]
        _write_lines(out / ROOT / "evaluation" / f"phoenix2014-groundtruth-{split}.stm", lines)
    times = [json.dumps({"clip": c.id, **span._asdict()}) for c in made for span in c.spans]
    _write_lines(out / ROOT / "annotations" / "automatic" / "times.jsonl", times)


def write_captions(out: Path, made: Sequence[Made]) -> None:
    """Write `annotations/captions.tsv`: what each clip that has a meaning says in the spoken languages."""
    rows = [(c.id, c.sentence.group, *(c.sentence.captions[key] for key in LANGUAGES)) for c in made if c.sentence]
    _write_rows(out / ROOT / "annotations" / "captions.tsv", ("id", "group", *LANGUAGES), rows)


def write_pose_table(out: Path, made: Sequence[Made], *, name: str) -> None:
    """Write `poses/clips.tsv`, with which the folder of poses is a corpus of its own.

    Args:
        out: folder of the corpus.
        made: its clips.
        name: of the language.
    """
    columns = ("file", "id", "gloss", "person", "group", "split", "language")
    rows = [
        (
            f"{c.split}/{c.id}.pose",
            c.id,
            " ".join(c.glosses),
            c.signer,
            c.sentence.group if c.sentence else "",
            c.split,
            name,
        )
        for c in made
    ]
    _write_rows(out / ROOT / "poses" / "clips.tsv", columns, rows)


def _write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    _write_lines(path, ["\t".join(row) for row in (columns, *rows)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
