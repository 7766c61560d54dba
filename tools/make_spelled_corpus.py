"""Make a corpus of real signers out of the manual alphabets in the package `spoken-to-signed`: joined words.

    python tools/make_spelled_corpus.py OUT/german --train gsg,sgg --test asq --num-train 60
    python tools/make_spelled_corpus.py OUT/others --train ukl,jos,gss --opaque --num-train 1200 --truth OUT/equal.tsv

Each letter was recorded once an alphabet, so an alphabet is a person, and letters that share a handshape in two
countries are signs that two languages share. OUT holds a prepared corpus: train, dev and test.jsonl.gz, the clips in
poses/ (hands, body and mouth at 25 Hz), and times.jsonl with the frames of every letter, for `slr align-eval`. A clip's
text is its letters, its person the alphabet, its group the word. --truth writes which glosses have the handshape of a
letter of gsg, sgg or asq, for `slr map --truth`, from slr/datasets/equal_handshapes.tsv.

Without --opaque the alphabets spell words of their language, and a part of the training clips are strings of the rarest
letters, so that all occur. Dev are other words of the training alphabets, test are further words of the alphabets in
--test. With --opaque a gloss is ALPHABET-LETTER (ukl-А, jos-ب), so that no label says what it has in common with
another, and the texts are strings of chance letters in which each gloss occurs about equally often: for most of these
alphabets there is no list of words, and words have rare letters. Without --test they test on the training alphabets.

The clips hold recordings that may not be passed on: choose a folder outside the repository. What a figure on them does
not show: letters are a few dozen static signs of one hand, one recording each; the words are joined from them with
drawn tempo, place and turn of the hand, so training knows the only take of a person's letter that there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from signwave import manifest
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.rundir import atomic_path
from slr.datasets.equal_handshapes import truth, write_truth
from slr.datasets.fingerspelling import PACKAGE, RATE_HZ, Alphabet, load_alphabets
from slr.datasets.joined_letters import Recording, damaged_letters, join, read_recordings, write_joined
from slr.datasets.spelled_texts import Sizes, SpelledText, SplitTexts, opaque_gloss, string_texts, word_texts


def names(text: str) -> tuple[str, ...]:
    """Alphabets from a text like gsg,sgg."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        description=lines[0],
        epilog="\n".join(line.strip() for line in lines[2:4]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder for the corpus; it must not hold anything yet")
    parser.add_argument("--train", type=names, required=True, metavar="A,B", help="alphabets of train and dev")
    parser.add_argument("--test", type=names, default=(), metavar="C,D", help="alphabets of test, never trained on")
    for split, number in (("train", 60), ("dev", 40), ("test", 150)):
        parser.add_argument(f"--num-{split}", type=int, metavar="N", default=number, help=f"clips (default: {number})")
    parser.add_argument("--opaque", action="store_true", help="glosses ALPHABET-LETTER, strings of chance letters")
    parser.add_argument(
        "--chance-share", type=float, default=0.25, metavar="X", help="share of strings in train (default: 0.25)"
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="also write which glosses equal a German letter")
    parser.add_argument("--certainty", choices=("high", "low"), default="low", help="of --truth; low takes all rows")
    parser.add_argument("--language", default="", help="name written into the manifests (default: OUT's)")
    parser.add_argument("--seed", type=int, default=0, help="other words and performances")
    parser.add_argument("--raw", default=PACKAGE, help="folder of the recordings (default: the installed package)")
    options = parser.parse_args(arguments)
    options.language = options.language or options.out.resolve().name
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f"{options.out} holds something; remove it or choose another folder")
    both = sorted(set(options.train) & set(options.test))
    if both or not options.train:
        parser.error(f"--test names alphabets that aren't trained on, and --train at least one; in both: {both}")
    if not options.test and not options.opaque:
        parser.error("name the alphabets that test with --test, or give --opaque")
    if options.truth and (not options.opaque or options.truth.exists()):
        parser.error(f"--truth goes with --opaque, and {options.truth} must not exist yet")
    if min(options.num_train, options.num_dev, options.num_test) < 1 or not 0 <= options.chance_share < 1:
        parser.error("need at least 1 clip of each split, and 0 <= --chance-share < 1")
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, got {options.seed}")
    return options


def write_split(
    options: argparse.Namespace, split: str, texts: list[SpelledText], recordings: dict[str, dict[str, Recording]]
) -> list[tuple[Clip, list[tuple[int, int]]]]:
    """Write the clips of a split; gives their rows, and the frames of their letters."""
    made = []
    for index, text in enumerate(texts):
        rng = np.random.default_rng([options.seed, ("train", "dev", "test").index(split), index])
        joined = join([recordings[text.alphabet][label] for label in text.labels], rng)
        name = f"{options.language}-{split}-{index:05d}"
        write_joined(options.out / "poses" / f"{name}.pose", joined)
        word, glosses = text.word, list(text.labels)
        if options.opaque:
            word, *glosses = (opaque_gloss(text.alphabet, part) for part in (word, *glosses))
        clip = Clip(
            id=name,
            path=f"poses/{name}.pose",
            kind="pose",
            num_frames=len(joined.hands),
            rate_hz=RATE_HZ,
            text=" ".join(glosses),
            language=options.language,
            person=text.alphabet,
            group=word,
            split=split,
        )
        made.append((clip, [*joined.spans]))
    return made


def write_times(path: Path, made: list[tuple[Clip, list[tuple[int, int]]]]) -> None:
    """Write where each letter is, in the form that `slr align-eval` reads."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for clip, spans in made:
            row = {"name": clip.id, "num_frames": clip.num_frames, "gloss": clip.text.split(), "segments": spans}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def sound_alphabets(wanted: list[str], *, raw: str) -> dict[str, Alphabet]:
    """Alphabets without the letters whose recording is damaged."""
    alphabets = load_alphabets(wanted, raw=raw)
    for name, alphabet in alphabets.items():
        for label in damaged_letters(alphabet):
            del alphabet[label]
            print(f"{name}: the recording of {label} is damaged and left out")
    return alphabets


def make_corpus(options: argparse.Namespace) -> None:
    """Make the corpus and say what it holds."""
    pairs = truth(options.train, certainty=options.certainty) if options.truth else []
    alphabets = sound_alphabets([*options.train, *options.test], raw=options.raw)
    training = {name: alphabets[name] for name in options.train}
    testing = {name: alphabets[name] for name in options.test}
    sizes = Sizes(options.num_train, options.num_dev, options.num_test)
    if options.opaque:
        labels = [{name: sorted(alphabet) for name, alphabet in some.items()} for some in (training, testing)]
        texts = string_texts(*labels, sizes, seed=options.seed)
    else:
        texts = word_texts(training, testing, sizes, chance_share=options.chance_share, seed=options.seed)
    recordings = read_recordings(alphabets)
    made = {
        split: write_split(options, split, some, recordings)
        for split, some in zip(SplitTexts._fields, texts, strict=True)
    }
    write_times(options.out / "times.jsonl", [row for rows in made.values() for row in rows])
    for split, rows in made.items():
        manifest.write(options.out / f"{split}.jsonl.gz", [clip for clip, _ in rows])
        counts = Counter(gloss for clip, _ in rows for gloss in clip.text.split())
        seconds = sum(clip.duration_seconds or 0 for clip, _ in rows)
        least = min(counts.values())
        print(
            f"{split}: {len(rows)} clips, {seconds:.0f} s, {counts.total()} letters of {len(counts)} glosses, "
            f"each {least} to {max(counts.values())} times, by {', '.join(sorted({clip.person for clip, _ in rows}))}"
        )
    if options.truth:
        write_truth(options.truth, pairs)
        print(f"{options.truth}: {len({source for source, _ in pairs})} glosses equal a letter of gsg, sgg or asq")


def main(arguments: list[str] | None = None) -> int:
    """Make the corpus; 0 if it is there."""
    options = parse(arguments)
    try:
        make_corpus(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
