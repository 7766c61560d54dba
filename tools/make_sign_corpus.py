"""Make a corpus of made-up signers in the official layout of Phoenix-2014, to train, align and score on with no data.

    python tools/make_sign_corpus.py OUT [--size 210x260] [--num-glosses 12] [--unseen-signers 1] [--bad]
    python tools/make_sign_corpus.py OUT --languages 2 --shared 0.6 --num-train 30,200 [--accent 0.05]
    python tools/make_sign_corpus.py OUT --captions [--performances 2] [--poses-only]

An invented language of up to 100 signs (a place, a path, hand shapes, one hand or two, repetitions, mouth) is signed
by made-up people who differ in build, colours, speed, size and place of their movements, slackness of the fingers, and
every fourth in the leading hand. Signs flow into each other; every clip begins and ends at rest. Sentences come from a
bigram grammar, and no sign follows itself.

OUT/phoenix-2014-multisigner holds

    annotations/manual/{train,dev,test}.corpus.csv            id|folder|signer|annotation
    annotations/automatic/times.jsonl                         {"clip", "gloss", "start_frame", "end_frame"}, half-open
    features/fullFrame-210x260px/SPLIT/ID/1/*.png             frames, whatever their size
    evaluation/phoenix2014-groundtruth-{train,dev,test}.stm   references for scoring
    poses/SPLIT/ID.pose                                       the joints that were drawn, as MediaPipe names them

Half of the test clips are signed by people who aren't in training, if --unseen-signers is given. --bad plants broken
clips as real corpora hold them, and lists them in annotations/automatic/bad.jsonl.

With --languages 2 there are two such corpora, OUT/language1 (the target) and OUT/language2 (the auxiliary one), by
other people and in other grammars, and OUT/shared_signs.tsv with the signs that both have under different glosses: the
same motion but for an accent (place, direction and tempo differ a little). All other signs are unlike each other.
Numbers may be given for each: --num-train 30,200. Clips and people of the two never have the same name.

With --captions every sign has a meaning, the same in both languages where they share it, and a sentence has captions
in English, German and Persian, in words and an order of their own; no two sentences say the same, so none of test is in
training. --performances 2 has each sentence signed by so many people: --num-train and the like then count sentences.
There are two more tables, which `slr captions add` and, in the folder of poses, `slr prepare poses` take:

    annotations/captions.tsv                                  id, group, en, de, fa
    poses/clips.tsv                                           file, id, gloss, person, group, split, language

A group is a sentence; a manifest of `slr prepare phoenix2014` has broadcasts there, until the captions are added.

--poses-only leaves the pictures out, which take most of the time.

What a figure on this corpus does not show: how well a model reads people. The signs are few and chosen to differ; there
is no grammar of space, no facial grammar beyond an opening mouth, no fingerspelling, no spatial or classifier signs, no
motion blur, no occlusion worth the name, no compression, one camera. Labels are complete and in order, times are exact,
keypoints are perfect: cut at the true times, a nearest neighbour on them names every sign of the default corpus. A
model that fails here is broken; one that succeeds has shown only that it finds and names such signs in a stream.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from made_up_signers import layout
from made_up_signers.damage import plant
from made_up_signers.sentences import TooFewSigns
from made_up_signers.world import NAMES, SHARED_TABLE, Language, make_world

SEEDS_APART = 1_000_003  # other people and sentences in the second language
PAIRS = ("num_glosses", "num_train", "num_dev", "num_test", "num_signers", "unseen_signers")
ROOTS = {1: (layout.ROOT,), 2: (*NAMES, SHARED_TABLE)}


def size(text: str) -> tuple[int, int]:
    """Width and height from a text like 210x260."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not all(32 <= int(side) <= 2048 for side in match.groups()):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no WIDTHxHEIGHT in pixels from 32 to 2048, like 64x80 or 210x260"
        )
    return int(match[1]), int(match[2])


def numbers(text: str) -> tuple[int, ...]:
    """One whole number, or two with a comma between: for the target and for the auxiliary language."""
    if not re.fullmatch(r"\d+(,\d+)?", text):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number nor two like 30,200")
    return tuple(int(part) for part in text.split(","))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument("out", type=Path, help="folder for the corpus; it must not hold one yet")
    pair: dict[str, Any] = {"type": numbers, "metavar": "N[,N]"}
    parser.add_argument("--num-glosses", default=(12,), help="vocabulary, 2 to 100 (default: 12)", **pair)
    for split, number in (("train", 120), ("dev", 24), ("test", 24)):
        parser.add_argument(f"--num-{split}", default=(number,), help=f"clips (default: {number})", **pair)
    parser.add_argument("--num-signers", default=(4,), help="people in all splits (default: 4)", **pair)
    parser.add_argument("--unseen-signers", default=(0,), help="further people, in test only (default: none)", **pair)
    parser.add_argument("--size", type=size, default=(64, 80), help="WIDTHxHEIGHT of the frames (default: 64x80)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames per second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other people and sentences, in the same language")
    parser.add_argument("--no-poses", action="store_true", help="write no keypoint files")
    parser.add_argument("--poses-only", action="store_true", help="draw no pictures")
    parser.add_argument("--captions", action="store_true", help="sentences with a meaning, in three spoken languages")
    parser.add_argument("--performances", type=int, default=1, help="people who sign each sentence (default: 1)")
    parser.add_argument("--bad", action="store_true", help="plant broken clips")
    parser.add_argument("--num-workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--languages", type=int, choices=(1, 2), default=1, help="2: a target and an auxiliary one")
    parser.add_argument("--shared", type=float, default=0.6, help="share of the smaller language's signs both have")
    parser.add_argument("--accent", type=float, default=0.05, help="how much they differ there, in shoulder widths")
    parser.add_argument("--world", type=int, default=0, help="other numbers, other pairs of languages")
    options = parser.parse_args(arguments)
    taken = [options.out / name for name in ROOTS[options.languages] if (options.out / name).exists()]
    if taken:
        parser.error(f"{taken[0]} exists; remove it or choose another folder")
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.languages == 1 and any(len(getattr(options, name)) > 1 for name in PAIRS):
        parser.error("two numbers like 30,200 are for a target and an auxiliary language; give --languages 2")
    glosses, signers = options.num_glosses, options.num_signers
    if not all(2 <= number <= 100 for number in glosses) or min(signers) < 1 or not 1 <= options.fps <= 240:
        parser.error("need --num-glosses from 2 to 100, --num-signers of at least 1 and --fps from 1 to 240")
    _check_sentences(parser, options)
    num_motions = sum((glosses * 2)[:2]) - round(options.shared * min(glosses))
    if options.languages == 2 and (
        not 0 <= options.shared <= 1 or num_motions > 100 or min(options.accent, options.world) < 0
    ):
        parser.error(
            "need --shared from 0 to 1, --accent and --world of at least 0 and at most 100 signs that differ; got "
            f"{options.shared}, {options.accent}, {options.world} and {num_motions}"
        )


def _check_sentences(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.poses_only and (options.no_poses or options.bad):
        parser.error("--poses-only leaves nothing for --no-poses, and --bad breaks pictures; leave one of them out")
    num, unseen = options.performances, min(options.unseen_signers)
    if num < 1 or (num > 1 and not options.captions):
        parser.error(f"--performances must be at least 1 and above that needs --captions, got {num}")
    if min(options.num_signers) < num or 0 < unseen < (num + 1) // 2:
        parser.error(
            f"{num} performances of a sentence are by different people: need --num-signers of at least {num} and "
            f"--unseen-signers of 0 or at least {(num + 1) // 2}"
        )


def plan_of(options: argparse.Namespace, number: int, language: Language | None = None) -> layout.CorpusPlan:
    """What to make for one language: the first or the second of each pair of numbers."""

    def choose(name: str) -> int:
        given: tuple[int, ...] = getattr(options, name)
        return given[min(number, len(given) - 1)]

    return layout.CorpusPlan(
        num_glosses=choose("num_glosses"),
        num_clips=(choose("num_train"), choose("num_dev"), choose("num_test")),
        num_signers=choose("num_signers"),
        num_unseen_signers=choose("unseen_signers"),
        width_px=options.size[0],
        height_px=options.size[1],
        fps=options.fps,
        seed=options.seed + SEEDS_APART * number,
        keypoints=not options.no_poses,
        language=language,
        first_year=2101 + 100 * number,
        first_signer=1 + 50 * number,
        performances=options.performances,
        captions=options.captions,
        frames=not options.poses_only,
    )


def make_corpus(plan: layout.CorpusPlan, out: Path, *, bad: bool, num_workers: int) -> None:
    """Make one corpus and say what it holds."""
    start = time.perf_counter()
    try:
        made = layout.make_clips(plan, out, num_workers=num_workers)
    except TooFewSigns as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    num_frames, num_signs = sum(clip.num_frames for clip in made), sum(len(clip.glosses) for clip in made)
    if bad:
        made = plant(out, made)
    layout.write_tables(out, made)
    if plan.captions:
        layout.write_captions(out, made)
    if plan.keypoints and (plan.captions or not plan.frames):
        layout.write_pose_table(out, made, name=plan.language.name if plan.language else NAMES[0])
    seconds = time.perf_counter() - start
    print(f"{len(made)} clips, {num_frames} frames, {num_signs} signs in {seconds:.1f} s: {out / layout.ROOT}")


def main(arguments: list[str] | None = None) -> None:
    """Make the corpus, or one for each of two languages."""
    options = parse(arguments)
    common = {"bad": options.bad, "num_workers": options.num_workers}
    if options.languages == 1:
        make_corpus(plan_of(options, 0), options.out, **common)
        return
    target, auxiliary = (options.num_glosses * 2)[:2]
    world = make_world((target, auxiliary), shared=options.shared, accent=options.accent, number=options.world)
    for number, language in enumerate(world.languages):
        make_corpus(plan_of(options, number, language), options.out / language.name, **common)
    world.write_shared(options.out / SHARED_TABLE)
    print(f"{len(world.shared)} shared signs: {options.out / SHARED_TABLE}")


if __name__ == "__main__":
    main()
