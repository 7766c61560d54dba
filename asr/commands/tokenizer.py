"""`asr tokenizer train|choose|inspect`: thin, no logic; everything heavy is imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from signwave import command
from signwave.options import AsJson, Quiet, examples, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asr.tokenizers.choice import Candidate

AnyName = TypeVar("AnyName", bound=str)

tokenizer_app = typer.Typer(
    name="tokenizer",
    help="Tokenizers for CTC: train one, choose one for a corpus and a frame rate, look at one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_TEXTS = "Manifests (.jsonl, .jsonl.gz) or texts with a sentence a line (.txt, .txt.gz)"
Texts = Annotated[list[Path], typer.Argument(metavar="TEXTS… OUT", help=f"{_TEXTS}; the last one is the new folder.")]
Language = Annotated[str, typer.Option(help="Code of the language, such as fa, ar or ur.")]
Lexicon = Annotated[Path | None, typer.Option(help="List of words, a word a line: more evidence for affixes.")]
StepSeconds = Annotated[float, typer.Option(min=0.001, help="Time from one output frame of the model to the next.")]
HeldOut = Annotated[
    Path | None, typer.Option(help="Other texts to measure on; default: a tenth of TEXTS is kept back.")
]


@tokenizer_app.command(
    epilog=examples(
        "asr tokenizer train data/cv-fa/train.jsonl.gz tokenizers/fa --language fa --kind morphology",
        "asr tokenizer train data/cv-ur/train.jsonl.gz tokenizers/ur --language ur --kind paper-bpe",
    )
)
def train(
    texts: Texts,
    language: Language,
    kind: Annotated[str, typer.Option(help="characters, paper-bpe, bpe, unigram or morphology.")] = "morphology",
    vocab_size: Annotated[int, typer.Option(min=8, help="Pieces; not for characters.")] = 512,
    joints: Annotated[str, typer.Option(help="Of morphology: affixes (fa, ar, ur) or morfessor.")] = "affixes",
    method: Annotated[str, typer.Option(help="Of morphology: unigram or bpe inside morphs.")] = "unigram",
    lexicon: Lexicon = None,
    as_json: AsJson = False,
) -> int:
    """Learn a tokenizer from transcripts of training clips and write it into a folder."""
    from asr.tokenizers import training
    from asr.tokenizers.corpus import read_lexicon, read_utterances
    from asr.tokenizers.joints import JOINT_KINDS
    from asr.tokenizers.pieces import METHODS
    from asr.tokenizers.tokenizer import KINDS

    sources, out = _sources(texts)
    recipe = training.Recipe(
        _checked("--kind", kind, KINDS), vocab_size,
        _checked("--joints", joints, JOINT_KINDS), _checked("--method", method, METHODS),
    )  # fmt: skip
    found = training.train(
        [one.text for one in read_utterances(sources)],
        recipe,
        language=language,
        lexicon=read_lexicon(lexicon) if lexicon else None,
    )
    path = found.save(out)
    facts = {"file": str(path), "kind": kind, "size": found.size, "digest": found.digest, **found.info}
    typer.echo(to_json(facts) if as_json else f"{path}: {found.size} tokens from {found.info['num_words']} words")
    return command.EXIT_DONE


@tokenizer_app.command(
    epilog=examples(
        "asr tokenizer choose data/cv-fa/train.jsonl.gz tokenizers/fa --language fa --held-out data/cv-fa/dev.jsonl.gz",
        "asr tokenizer choose texts.txt tokenizers/ur --language ur --step-seconds 0.08 --json",
    )
)
def choose(
    texts: Texts,
    language: Language,
    held_out: HeldOut = None,
    step_seconds: StepSeconds = 0.02,
    min_feasible: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of clips that need a CTC path.")] = 0.999,
    max_rare: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of tokens that may be rare.")] = 0.1,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds, with commas; default: all.")] = None,
    lexicon: Lexicon = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Train several tokenizers, measure each on held-out clips, and write the one with the least to say in a second.

    Only those count for which nearly every clip has a CTC path at the model's frame rate, and few tokens are rare.
    """
    from asr.tokenizers import choice
    from asr.tokenizers.corpus import read_lexicon, read_utterances, split_off
    from asr.tokenizers.tokenizer import KINDS

    sources, out = _sources(texts)
    names = [name.strip() for one in kind or [] for name in one.split(",")]
    kinds = [_checked("--kind", name, KINDS) for name in names] or KINDS
    training = read_utterances(sources)
    if held_out is None:
        training, others = split_off(training)
    else:
        others = read_utterances([held_out])
    tried, chosen = choice.choose(
        [one.text for one in training],
        others,
        choice.candidates(language, kinds),
        language=language,
        step_seconds=step_seconds,
        min_feasible=min_feasible,
        max_rare=max_rare,
        lexicon=read_lexicon(lexicon) if lexicon else None,
        on_candidate=None if quiet else lambda one: command.say(_line(one)),
    )
    chosen.save(out)
    facts = {"chosen": chosen.info["name"], "out": str(out), "candidates": [_row(one) for one in tried]}
    typer.echo(to_json(facts) if as_json else f"{out}: {chosen.info['name']}")
    return command.EXIT_DONE


@tokenizer_app.command(
    epilog=examples(
        "asr tokenizer inspect tokenizers/fa --text 'کتاب‌هایش را می‌خواهم'",
        "asr tokenizer inspect tokenizers/fa --gold UD_Persian-Seraji/fa_seraji-ud-test.conllu.gz --json",
    )
)
def inspect(
    tokenizer: Annotated[Path, typer.Argument(metavar="TOKENIZER", help="Folder, bundle, run or tokenizer.json.")],
    text: Annotated[list[str] | None, typer.Option(help="Show how it is cut; may be repeated.")] = None,
    gold: Annotated[
        list[Path] | None,
        typer.Option(help="Annotated boundaries: .conllu(.gz) or a UniMorph table; may be repeated."),
    ] = None,
    verb_stems: Annotated[
        Path | None, typer.Option(help="hazm's verbs.dat: present stems for UniMorph's Persian.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Say what a tokenizer is, how it cuts texts, and how well its cuts agree with annotated boundaries."""
    from asr.tokenizers.boundaries import score_tokenizer
    from asr.tokenizers.gold import read_gold
    from asr.tokenizers.tokenizer import Tokenizer

    found = Tokenizer.load(tokenizer)
    cuts = {one: found.tokens(one) for one in text or []}
    scores = {str(path): score_tokenizer(found, read_gold(path, found, verb_stems=verb_stems)) for path in gold or []}
    if as_json:
        rates = {path: {name: one.to_dict() for name, one in rows.items()} for path, rows in scores.items()}
        facts = {"kind": found.kind, "size": found.size, "digest": found.digest, "info": found.info}
        typer.echo(to_json({**facts, "normaliser": found.normaliser.name, "cuts": cuts, "gold": rates}))
        return command.EXIT_DONE
    typer.echo(f"{found.kind}, {found.size} tokens, normaliser {found.normaliser.name}, digest {found.digest[:12]}")
    for tokens in cuts.values():
        typer.echo(" ".join(tokens))
    for path, rows in scores.items():
        for name, one in rows.items():
            low, high = one.f1_interval_95
            typer.echo(
                f"{path} {name}: precision {one.precision:.1%}, recall {one.recall:.1%}, F1 {one.f1:.1%} "
                f"[{low:.1%}, {high:.1%}], {one.num_gold} boundaries in {one.num_words} words"
            )
    return command.EXIT_DONE


def _sources(texts: list[Path]) -> tuple[list[Path], Path]:
    *sources, out = texts
    if not sources:
        raise typer.BadParameter("give texts, and then the folder to write", param_hint="TEXTS… OUT")
    return sources, out


def _row(candidate: "Candidate") -> dict[str, Any]:
    measures = candidate.measures.to_dict() if candidate.measures else {}
    return {"name": candidate.recipe.name, "reason": candidate.reason, **measures}


def _line(one: "Candidate") -> str:
    if one.measures is None:
        return f"{one.recipe.name}: {one.reason}"
    found = one.measures
    told = (
        f"{one.recipe.name}: {found.vocab_size} tokens, {found.tokens_per_word:.2f} a word, "
        f"{found.tokens_per_second:.2f} a second, {found.feasible_rate:.2%} feasible, "
        f"{found.rare_rate:.1%} rare, {found.bits_per_second:.1f} bits/s"
    )
    return f"{told}; {one.reason}" if one.reason else told


def _checked(option: str, value: str, allowed: "Sequence[AnyName]") -> "AnyName":
    """The value, if it is one of those allowed."""
    for name in allowed:
        if name == value:
            return name
    raise typer.BadParameter(f"{value}: allowed are {', '.join(allowed)}", param_hint=option)
