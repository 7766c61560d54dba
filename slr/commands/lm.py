"""`slr lm train` and `slr lm score`: thin, no logic; everything heavy is imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signwave import command
from signwave.options import AsJson, Quiet, examples, to_json

if TYPE_CHECKING:
    from signwave.text import Vocabulary

lm_app = typer.Typer(
    name="lm",
    help="n-gram language models of glosses, for the beam search of `slr recognize --lm`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_TEXTS = "Manifests (.jsonl, .jsonl.gz), tables with a gloss column (.csv, .tsv), or a sentence a line (.txt)."


@lm_app.command(
    epilog=examples(
        "slr lm train data/p14/train.jsonl.gz glosses.arpa --order 3",
        "slr lm train data/p14/train.jsonl.gz glosses.arpa.gz --model runs/p14 --dev data/p14/dev.jsonl.gz",
    )
)
def train(
    texts: Annotated[list[Path], typer.Argument(metavar="TEXTS… OUT.arpa", help=f"{_TEXTS} The last one is written.")],
    order: Annotated[int, typer.Option(min=1, max=10, help="The longest n-gram.")] = 3,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Run whose glosses the language model shall know as well.")
    ] = None,
    dev: Annotated[Path | None, typer.Option(help="Also say the perplexity on these texts.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Train a model by modified Kneser-Ney smoothing and write it as ARPA, gzipped where the name ends in .gz."""
    from slr import gloss_lm

    *sources, out = texts
    if not sources:
        raise typer.BadParameter("give texts, and then the file to write", param_hint="TEXTS… OUT.arpa")
    if not str(out).endswith((".arpa", ".arpa.gz")):
        raise typer.BadParameter(f"{out}: the last name is written, it must end in .arpa or .arpa.gz", param_hint="OUT")
    lm, counts = gloss_lm.train(sources, order=order, vocabulary=_vocabulary(model))
    if dev is not None:
        counts["dev"] = gloss_lm.perplexity(lm, gloss_lm.sentences(dev)).to_dict()
    lm.write_arpa(out)
    if as_json:
        typer.echo(to_json({"file": str(out), **counts}))
    elif not quiet:
        ngrams = " + ".join(map(str, counts["num_ngrams"]))
        sizes = f"{counts['num_sentences']} sentences, {counts['num_tokens']} glosses, {counts['num_words']} different"
        told = f"; perplexity {counts['dev']['perplexity']:.1f} on {dev}" if dev is not None else ""
        command.say(f"{out}: {sizes}; {ngrams} n-grams{told}")
    return command.EXIT_DONE


@lm_app.command(epilog=examples("slr lm score glosses.arpa data/p14/dev.jsonl.gz --json"))
def score(
    lm: Annotated[Path, typer.Argument(metavar="LM.arpa", help="The language model.")],
    texts: Annotated[list[Path], typer.Argument(metavar="TEXTS…", help=_TEXTS)],
    as_json: AsJson = False,
) -> int:
    """Say the perplexity of a model on texts it wasn't trained on, and how many of their glosses it doesn't know."""
    from signwave.ctc import NgramLm
    from signwave.errors import ArtefactError
    from slr import gloss_lm

    if not lm.is_file():
        raise ArtefactError(f"{lm}: no such language model; train one with `slr lm train TEXTS… {lm}`")
    loaded = NgramLm.from_arpa(lm)
    found = gloss_lm.perplexity(loaded, (words for path in texts for words in gloss_lm.sentences(path)))
    if as_json:
        typer.echo(to_json({"lm": str(lm), "order": loaded.order, **found.to_dict()}))
    else:
        typer.echo(
            f"perplexity {found.perplexity:.2f} ({found.bits_per_token:.2f} bits a gloss) over {found.num_sentences} "
            f"sentences, {found.num_tokens} glosses; {found.num_unknown} unknown ({found.unknown_rate:.2%})"
        )
    return command.EXIT_DONE


def _vocabulary(model: Path | None) -> "Vocabulary | None":
    if model is None:
        return None
    from signwave import bundle
    from signwave.errors import ArtefactError

    stored = bundle.load(model)
    if stored.vocabulary is None:
        raise ArtefactError(f"{stored.folder}: has no vocabulary; name a run of a recogniser")
    return stored.vocabulary
