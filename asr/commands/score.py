"""`asr score`: thin, no logic; everything heavy is imported when the command runs."""

from pathlib import Path
from typing import Annotated

import typer

from signwave import command
from signwave.options import AsJson, examples, to_json

EXAMPLES = examples(
    "asr score transcripts data/cv-ur/test.jsonl.gz --language ur --json",
    "asr score hyp.txt ref.txt --language ar --fold final-yeh,teh-marbuta",
    "asr score transcripts data/cv-fa/test.jsonl.gz --language fa --spellings variants.tsv --by-speaker",
)


def score(
    hypothesis: Annotated[
        Path, typer.Argument(metavar="HYP", help="Folder of .txt or .json, a .jsonl of records, or a .txt.")
    ],
    reference: Annotated[
        Path, typer.Argument(metavar="REF", help="Manifest, folder of .txt, or a .txt with the same lines.")
    ],
    language: Annotated[str, typer.Option(help="Unify this language's spellings; empty = as they are.")] = "",
    fold: Annotated[
        list[str] | None,
        typer.Option(
            help="Unify these groups too, with commas: fa ezafe hamza; ar final-yeh teh-marbuta hamza foreign."
        ),
    ] = None,
    spellings: Annotated[
        Path | None, typer.Option(help="File of spellings that all count as right: a line a group, parted by tabs.")
    ] = None,
    by_speaker: Annotated[
        bool, typer.Option("--by-speaker", help="Also a table of the speakers, worst first.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Word and character error rates: raw, orthographic, and with spaces forgiven, each with its 95 % interval.

    Intervals are drawn by speaker where the reference is a manifest that names them. Recordings without a hypothesis
    count as empty ones.
    """
    from asr import scoring

    groups = [name.strip() for text in fold or [] for name in text.split(",") if name.strip()]
    found = scoring.score(hypothesis, reference, language=language, fold=groups, spellings=spellings)
    typer.echo(to_json(found.to_dict()) if as_json else scoring.summary(found, by_speaker=by_speaker))
    return command.EXIT_DONE
