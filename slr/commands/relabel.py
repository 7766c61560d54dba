"""`slr relabel`: the sentences of an auxiliary corpus in glosses of the target language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from signwave import command
from signwave.options import AsJson, Quiet, Verbose, examples, setup_logging, to_json

EXAMPLES = examples(
    "slr relabel data/csl/train.jsonl.gz csl-to-dgs.tsv data/csl-as-dgs --target data/p14/train.jsonl.gz",
    "slr relabel data/csl/train.jsonl.gz csl-to-dgs.tsv data/csl-soft --top 3 --unmapped delete",
)


def relabel(
    manifest: Annotated[Path, typer.Argument(help="Sentences of the auxiliary corpus, as `slr prepare` writes them.")],
    mapping: Annotated[Path, typer.Argument(help="Table of `slr map`, edited or not.")],
    out: Annotated[Path, typer.Argument(help="Folder for the sentences; recipes take it under auxiliary.corpora.")],
    target: Annotated[
        Path | None, typer.Option(help="Training manifest of the target: refuse targets that it doesn't have.")
    ] = None,
    unmapped: Annotated[
        Literal["wildcard", "delete", "drop"],
        typer.Option(help="Signs without a target: `*`, left out, or the sentence left out."),
    ] = "wildcard",
    wildcard: Annotated[
        Literal["any", "sign"], typer.Option(help="What CTC may spend `*` on: anything, or one sign; see the manual.")
    ] = "any",
    top: Annotated[int, typer.Option(min=1, help="Target glosses a sign may stand for, with their weights.")] = 1,
    min_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Drop sentences of which less is mapped; those of nothing always.")
    ] = 0.0,
    stride: Annotated[int, typer.Option(min=1, help="Frames per step of the model that will be trained.")] = 4,
    other_corpus: Annotated[
        bool, typer.Option("--other-corpus", help="Take sentences whose signs weren't those that were mapped.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was made from other inputs.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Write the sentences of a corpus in the glosses that its signs look like in another language.

    Sentences that would need more steps than they have (two equal glosses side by side cost a blank) are dropped and
    listed in OUT/dropped.jsonl.
    """
    from slr.crosslingual.relabel_stage import relabel_manifest
    from slr.crosslingual.relabelling import Relabelling, to_text

    setup_logging(quiet=quiet, verbose=verbose)
    report = relabel_manifest(
        manifest, mapping, out, settings=Relabelling(unmapped, wildcard, top, min_share, stride), target=target,
        other_corpus=other_corpus, overwrite=overwrite,
    )  # fmt: skip
    typer.echo(to_json(vars(report)) if as_json else to_text(report))
    return command.EXIT_DONE
