"""`slr map`: which signs of the target language the signs of another language look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from signwave import command
from signwave.options import AsJson, Device, Quiet, Verbose, examples, setup_logging, to_json

EXAMPLES = examples(
    "slr map csl.parquet runs/phoenix2014_csl_daily_islr csl-to-dgs.tsv --page review.html",
    "slr map csl.parquet runs/islr map.tsv --target phoenix2014 --method posterior --min-score 0.4",
)


def map_signs(
    signs: Annotated[Path, typer.Argument(help="Auxiliary signs: a table of `slr align`, or an isolated manifest.")],
    model: Annotated[Path, typer.Argument(help="Run or bundle folder of an isolated recogniser (recipes *_islr.py).")],
    out: Annotated[Path, typer.Argument(help="The mapping, a table separated by tabs.")],
    target: Annotated[str, typer.Option(help="Target language; default: the model's other one.")] = "",
    target_signs: Annotated[
        Path | None, typer.Option(help="Its signs, where they aren't where the model found them.")
    ] = None,
    method: Annotated[
        Literal["agree", "posterior", "prototype", "transport"], typer.Option(help="Whose answer is taken.")
    ] = "agree",
    min_agreement: Annotated[
        int, typer.Option(min=1, max=3, help="How many of the three methods must name the target; for agree.")
    ] = 3,
    max_gap: Annotated[
        float,
        typer.Option(
            min=0.0, help="Largest distance of the two, over that of neighbouring signs of one language; agree."
        ),
    ] = 0.5,
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0, help="Least mean posterior.")] = 0.2,
    min_support: Annotated[int, typer.Option(min=1, help="Least number of signs.")] = 5,
    min_split_half: Annotated[float, typer.Option(min=0.0, max=1.0, help="Least agreement of random halves.")] = 0.5,
    mutual_only: Annotated[bool, typer.Option("--mutual-only", help="Only pairs that choose each other.")] = False,
    page: Annotated[Path | None, typer.Option(help="HTML page that shows both signs of every pair.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of all similarities.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Table of signs that really look alike, to score against.")] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a mapping, edited or not.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Map the signs of an auxiliary corpus to those of the target language that they look like.

    Looks are kept in OUT.cache: run it again with other rules and it takes seconds. A mapping says that signs look
    alike, not that they mean the same. Exit code 3 = some signs couldn't be read.
    """
    from slr.crosslingual.building import Rules
    from slr.crosslingual.map_stage import map_dictionaries

    setup_logging(quiet=quiet, verbose=verbose)
    rules = Rules(
        method=method, min_score=min_score, min_support=min_support, min_split_half=min_split_half,
        mutual_only=mutual_only, min_agreement=min_agreement, max_gap=max_gap,
    )  # fmt: skip
    report = map_dictionaries(
        signs, model, out, target=target, target_signs=target_signs, rules=rules, device=device, overwrite=overwrite,
        quiet=quiet, truth=truth, picture=picture, page=page,
    )  # fmt: skip
    for name, reason in list(report.problems.items())[:20]:
        command.say(f"not seen: {name}: {reason}")
    typer.echo(to_json(_plain(report)) if as_json else report.summary)
    return command.EXIT_SOME_FAILED if report.problems else command.EXIT_DONE


def _plain(report: Any) -> dict[str, Any]:
    values = {**vars(report), "coverage": report.coverage._asdict() | {"tokens": report.coverage.tokens}}
    return values | {"agreement": None if report.agreement is None else report.agreement.to_dict()}
