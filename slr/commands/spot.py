"""`slr spot`: thin, no logic; everything heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signwave import command
from signwave.options import AsJson, Device, Limit, Quiet, Verbose, examples, setup_logging, to_json

EXAMPLES = examples(
    "slr spot runs/wlasl_islr data/how2sign/train.jsonl.gz spots.parquet --report spots.png",
    "slr spot runs/signers_islr data/mine/train.jsonl.gz data/more/train.jsonl.gz spots.parquet --threshold 0.8",
)
_NUM_TOLD = 20


def spot(
    model: Annotated[Path, typer.Argument(help="Run or bundle folder of a recipe *_islr, trained on another corpus.")],
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST…", help="Clips, as `slr prepare` writes them.")],
    out: Annotated[Path, typer.Argument(help="The table, NAME.parquet.")],
    language: Annotated[str, typer.Option("--language", "-l", help="Ask its classifier; default: the only one.")] = "",
    threshold: Annotated[float, typer.Option(min=0.0, max=0.999, help="Take windows that are surer than this.")] = 0.6,
    merge_frames: Annotated[int, typer.Option(min=0, help="Windows so near to a kept one widen its span.")] = 3,
    suppress_frames: Annotated[int, typer.Option(min=0, help="Windows so near to a kept one are dropped.")] = 24,
    splits: Annotated[
        str, typer.Option(help="Whose clips: train, dev, test, unnamed; several with commas. More than train leaks.")
    ] = "train",
    blanks: Annotated[bool, typer.Option(help="Keep spans in which the model is sure of no sign.")] = True,
    corpus: Annotated[str, typer.Option(help="Name of the corpus; default: the first manifest's folder.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write a picture: spans a gloss, windows by confidence.")] = None,
    device: Device = "auto",
    limit: Limit = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was made from other inputs.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Spot the signs that a recogniser knows in another corpus; run it again to go on.

    The table is a dictionary of pseudo-labels: recipes *_domain_islr train a domain-aware encoder on it.

    Exit code 0 = every clip was looked at, 3 = some couldn't be, 1 = none could, or nothing was found.
    """
    from signwave.errors import UserError
    from slr.isolated.infer import IsolatedRecognizer
    from slr.spotting.report import plot
    from slr.spotting.splits import parse_splits
    from slr.spotting.stage import spot_manifests
    from slr.spotting.suppression import Suppression

    setup_logging(quiet=quiet, verbose=verbose)
    chosen = parse_splits(splits)
    if merge_frames > suppress_frames:
        raise UserError(f"--merge-frames {merge_frames} must not be above --suppress-frames {suppress_frames}")
    found = spot_manifests(
        IsolatedRecognizer.load(model, device=device),
        manifests,
        out,
        language=language,
        splits=chosen,
        rules=Suppression(threshold, merge_frames, suppress_frames),
        with_blanks=blanks,
        corpus=corpus,
        limit=limit,
        overwrite=overwrite,
        quiet=quiet,
    )
    if report is not None:
        from signwave.plots.figure import save_png

        save_png(plot(found, threshold=threshold), report)
    for name, reason in list(found.problems.items())[:_NUM_TOLD]:
        command.say(f"not read: {name}: {reason}")
    if len(found.problems) > _NUM_TOLD:
        command.say(f"… and {len(found.problems) - _NUM_TOLD} more; {out}.report.json lists them all")
    typer.echo(to_json(vars(found)) if as_json else found.summary())
    return command.EXIT_SOME_FAILED if found.problems else command.EXIT_DONE
