"""Make a corpus of made-up signers in the official layout of Phoenix-2014, to train, align and score on with no data.

    python tools/make_sign_corpus.py OUT [--size 210x260] [--num-glosses 12] [--unseen-signers 1] [--bad]

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

sys.path.insert(0, str(Path(__file__).resolve().parent))

from made_up_signers import layout
from made_up_signers.damage import plant


def size(text: str) -> tuple[int, int]:
    """Width and height from a text like 210x260."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not all(32 <= int(side) <= 2048 for side in match.groups()):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no WIDTHxHEIGHT in pixels from 32 to 2048, like 64x80 or 210x260"
        )
    return int(match[1]), int(match[2])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument("out", type=Path, help="folder for the corpus; it must not hold one yet")
    parser.add_argument("--num-glosses", type=int, default=12, help="vocabulary, 2 to 100 (default: %(default)s)")
    for split, number in (("train", 120), ("dev", 24), ("test", 24)):
        parser.add_argument(f"--num-{split}", type=int, default=number, help="clips (default: %(default)s)")
    parser.add_argument("--num-signers", type=int, default=4, help="people in all splits (default: %(default)s)")
    parser.add_argument("--unseen-signers", type=int, default=0, help="further people, in test only (default: none)")
    parser.add_argument("--size", type=size, default=(64, 80), help="WIDTHxHEIGHT of the frames (default: 64x80)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames per second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other people and sentences, in the same language")
    parser.add_argument("--no-poses", action="store_true", help="write no keypoint files")
    parser.add_argument("--bad", action="store_true", help="plant broken clips")
    parser.add_argument("--num-workers", type=int, default=1, help="processes (default: %(default)s)")
    options = parser.parse_args(arguments)
    if (options.out / layout.ROOT).exists():
        parser.error(f"{options.out / layout.ROOT} exists; remove it or choose another folder")
    if not 2 <= options.num_glosses <= 100 or options.num_signers < 1 or not 1 <= options.fps <= 240:
        parser.error("need --num-glosses from 2 to 100, --num-signers of at least 1 and --fps from 1 to 240")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Make the corpus and say what it holds."""
    options = parse(arguments)
    plan = layout.CorpusPlan(
        num_glosses=options.num_glosses,
        num_clips=(options.num_train, options.num_dev, options.num_test),
        num_signers=options.num_signers,
        num_unseen_signers=options.unseen_signers,
        width_px=options.size[0],
        height_px=options.size[1],
        fps=options.fps,
        seed=options.seed,
        keypoints=not options.no_poses,
    )
    start = time.perf_counter()
    made = layout.make_clips(plan, options.out, num_workers=options.num_workers)
    num_frames, num_signs = sum(clip.num_frames for clip in made), sum(len(clip.glosses) for clip in made)
    if options.bad:
        made = plant(options.out, made)
    layout.write_tables(options.out, made)
    seconds = time.perf_counter() - start
    print(f"{len(made)} clips, {num_frames} frames, {num_signs} signs in {seconds:.1f} s: {options.out / layout.ROOT}")


if __name__ == "__main__":
    main()
