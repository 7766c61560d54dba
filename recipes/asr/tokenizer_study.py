"""Tokenizers on real Persian, Arabic and Urdu texts: what is to be written, and do the cuts fall between morphs?

    python recipes/asr/tokenizer_study.py shared/data [--out docs/results/tokenizer_text.json] [--quick]

The folder holds text/ (Universal Dependencies, UniMorph, hazm) and speech/common_voice_ur_22.0_delta. Sentences that a
tokenizer is trained on are apart from those it is measured on: Persian is trained on the treebanks' dev files and
measured on their test files, Arabic on the first and second half of PUD, Urdu on nine tenths and one tenth of Common
Voice's sentences. The tables of affixes were written with a look at the Persian dev files, the first half of PUD, and
170 of the 815 Urdu paradigm forms; the other gold was not looked at.

Feasibility is that of a steady pace, 2.5 words a second and, as fast speech, 4. Writes the .json and a table, .md.
"""

import argparse
import gzip
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from asr.text import for_language
from asr.tokenizers.boundaries import score_boundaries, score_tokenizer
from asr.tokenizers.corpus import split_off
from asr.tokenizers.gold import GoldWord, read_treebank, read_unimorph, read_verb_stems
from asr.tokenizers.measures import count_tokens, measure, utterances
from asr.tokenizers.training import PAPER, Recipe, VocabularySizeError, train
from signwave import command
from signwave.rundir import atomic_write, environment, write_json

OUT = Path(__file__).resolve().parents[2] / "docs" / "results" / "tokenizer_text.json"
STEPS_SECONDS = (0.02, 0.04, 0.08)
PACES = {"steady": 2.5, "fast": 4.0}
SIZES = (512, 1024, 2048)
RECIPES = [
    Recipe("characters"),
    *(Recipe(kind, size) for kind in ("paper-bpe", "unigram", "morphology") for size in SIZES),
    Recipe("morphology", method="bpe"),
    Recipe("morphology", joints="morfessor"),
]


class Corpus(NamedTuple):
    """Texts to learn from, other texts, and words with annotated boundaries that aren't in the former's sentences."""

    train: list[str]
    test: list[str]
    gold: dict[str, list[GoldWord]]


def persian(data: Path) -> Corpus:
    """Seraji and PerDT: dev against test, and UniMorph's verbs with hazm's present stems."""
    normaliser = for_language("fa")
    folders = [data / "text" / name for name in ("UD_Persian-Seraji", "UD_Persian-PerDT")]
    dev, test = ([next(folder.glob(f"*-{split}.conllu.gz")) for folder in folders] for split in ("dev", "test"))
    stems = read_verb_stems(data / "text" / "hazm" / "verbs.dat", normaliser)
    paradigms = read_unimorph(data / "text" / "unimorph_fas" / "fas.gz", normaliser, language="fa", present_stems=stems)
    treebanks = [word for path in test for word in read_treebank(path, normaliser)]
    return Corpus(_texts(dev), _texts(test), {"treebanks": treebanks, "unimorph": list(paradigms)})


def arabic(data: Path) -> Corpus:
    """PUD: the first five hundred sentences against the others."""
    source = next((data / "text" / "UD_Arabic-PUD").glob("*.conllu.gz"))
    sentences = gzip.decompress(source.read_bytes()).decode().strip().split("\n\n")
    half = len(sentences) // 2
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for name, part in (("train", sentences[:half]), ("test", sentences[half:])):
            parts.append(Path(folder) / f"{name}.conllu.gz")
            parts[-1].write_bytes(gzip.compress("\n\n".join(part).encode()))
        gold = {"treebanks": list(read_treebank(parts[1], for_language("ar")))}
        return Corpus(_texts(parts[:1]), _texts(parts[1:]), gold)


def urdu(data: Path) -> Corpus:
    """Common Voice's sentences, a tenth kept back, and UniMorph's paradigms."""
    table = data / "speech" / "common_voice_ur_22.0_delta" / "ur" / "validated_sentences.tsv"
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    column = rows[0].index("sentence")
    training, held_out = split_off(utterances([row[column] for row in rows[1:]]))
    gold = read_unimorph(data / "text" / "unimorph_urd" / "urd.gz", for_language("ur"), language="ur")
    return Corpus([one.text for one in training], [one.text for one in held_out], {"unimorph": list(gold)})


def _texts(paths: list[Path]) -> list[str]:
    mark = "# text = "
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


def study(corpus: Corpus, recipe: Recipe, language: str) -> dict[str, Any]:
    """Train one tokenizer and measure it on everything."""
    try:
        tokenizer = train(corpus.train, recipe, language=language)
    except VocabularySizeError as error:
        return {"reason": str(error)}
    counts = count_tokens(tokenizer, corpus.train)
    found: dict[str, Any] = {"digest": tokenizer.digest}
    for pace, words_per_second in PACES.items():
        clips = utterances(corpus.test, words_per_second=words_per_second)
        for step in STEPS_SECONDS:
            measures = measure(tokenizer, clips, counts, step_seconds=step)
            found[f"feasible_{pace}_{round(1000 * step)}_ms"] = measures.feasible_rate
            if (pace, step) == ("steady", STEPS_SECONDS[0]):
                measured = measures.to_dict()
                del measured["feasible_rate"], measured["step_seconds"]
                found |= measured
    for name, words in corpus.gold.items():
        found[name] = {kind: one.to_dict() for kind, one in score_tokenizer(tokenizer, words).items()}
        if tokenizer.joints is not None:
            chosen = [(word.word, word.stems) for word in words if word.stems is not None]
            cuts = score_boundaries((tokenizer.morphs(word) for word, _ in chosen), (right for _, right in chosen))
            found[name]["stems_of_morphs"] = cuts.to_dict()
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown; a boundary's recall is the share of joints that no token reaches over."""
    lines = []
    for language, rows in figures.items():
        golds = sorted({name for row in rows.values() for name in ("treebanks", "unimorph") if name in row})
        heads = ["tokenizer", "tokens", "a word", "bits/s", "rare", "unknown clips", "feasible 20/40/80 ms", "fast"]
        heads += [f"{gold} P / R / F1 [95 %]" for gold in golds]
        lines += [f"## {language}", "", f"| {' | '.join(heads)} |"]
        lines.append("|---" * len(heads) + "|")
        lines += [_row(name, row, golds) for name, row in rows.items()]
        lines.append("")
    return "\n".join(lines)


def _row(name: str, row: dict[str, Any], golds: list[str]) -> str:
    if "reason" in row:
        return f"| {name} | {row['reason']} |" + " |" * (6 + len(golds))
    feasible = [
        " / ".join(f"{row[f'feasible_{pace}_{round(1000 * step)}_ms']:.3f}" for step in STEPS_SECONDS) for pace in PACES
    ]
    cells = [name, str(row["vocab_size"]), f"{row['tokens_per_word']:.2f}", f"{row['bits_per_second']:.1f}",
             f"{row['rare_rate']:.3f}", f"{row['unknown_rate']:.4f}", *feasible]  # fmt: skip
    for gold in golds:
        one = row[gold]["stems"]
        low, high = one["f1_interval_95"]
        cells.append(f"{one['precision']:.3f} / {one['recall']:.3f} / {one['f1']:.3f} [{low:.3f}, {high:.3f}]")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with text/ and speech/")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--quick", action="store_true", help="three tokenizers of 512 pieces only")
    arguments = parser.parse_args()
    recipes = [Recipe("characters"), PAPER, Recipe("morphology")] if arguments.quick else RECIPES
    figures: dict[str, Any] = {}
    sizes = {}
    for language, load in (("fa", persian), ("ar", arabic), ("ur", urdu)):
        corpus = load(arguments.data)
        sizes[language] = {"num_train_sentences": len(corpus.train), "num_test_sentences": len(corpus.test)}
        figures[language] = {}
        for recipe in recipes:
            figures[language][recipe.name] = study(corpus, recipe, language)
            command.say(f"{language} {recipe.name}: done")
    ran = {"command": f"python recipes/asr/tokenizer_study.py DATA{' --quick' if arguments.quick else ''}"}
    write_json(arguments.out, {**ran, "environment": environment(), "sizes": sizes, "figures": figures})
    atomic_write(arguments.out.with_suffix(".md"), f"# Tokenizers on real texts\n\n{table(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
