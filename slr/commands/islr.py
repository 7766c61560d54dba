"""`slr islr`: thin, no logic; everything heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import command
from signwave.options import AsJson, Device, Limit, ModelFolder, Quiet, Verbose, examples, setup_logging, to_json

if TYPE_CHECKING:
    from slr.isolated.infer import IsolatedRecognizer
    from slr.isolated.naming import Naming, Request

EXAMPLES = examples(
    "slr islr --model runs/signers_islr sign.mp4 -k 3",
    "slr islr --model runs/signers_islr segments.parquet --out named.json",
    "slr islr --model runs/wlasl_islr data/wlasl/test.jsonl.gz --language ase --json",
)

_NUM_TOLD = 20


def islr(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|FOLDER|SEGMENTS|MANIFEST…",
            help="Clips of one sign each, a table of `slr align` (.parquet) or a manifest of such clips (.jsonl.gz).",
        ),
    ],
    model: ModelFolder,
    language: Annotated[
        list[str] | None, typer.Option("--language", "-l", help="Ask only this language; several times for more.")
    ] = None,
    num_best: Annotated[int, typer.Option("-k", min=1, max=1000, help="Guesses for each sign and language.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write everything to this JSON file.")] = None,
    device: Device = "auto",
    limit: Limit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Name isolated signs, with probabilities, in every language of the model.

    A table or a manifest brings the right names: top-1 and top-5 are then told too, over signs and as means over
    glosses. Its glosses are those of the language that it is named after, or of the one --language.

    Exit code 0 = every sign was looked at, 3 = some couldn't be, 1 = none could.
    """
    from signwave.rundir import write_json
    from slr.isolated.infer import IsolatedRecognizer
    from slr.isolated.naming import name_signs

    setup_logging(quiet=quiet, verbose=verbose)
    recognizer = IsolatedRecognizer.load(model, device=device)
    chosen = [recognizer.known(name) for name in dict.fromkeys(language or ())]
    requests = _requests(inputs, recognizer, limit)
    found = name_signs(recognizer, requests, languages=chosen, num_best=num_best, limit=limit, quiet=quiet)
    document = _document(recognizer, found)
    if out is not None:
        write_json(out, document)
    for note in found.notes:
        command.say(note)
    for problem in found.problems[:_NUM_TOLD]:
        command.say(f"not named: {problem['clip']} at {problem['start_seconds']:.2f} s: {problem['reason']}")
    if len(found.problems) > _NUM_TOLD:
        command.say(f"… and {len(found.problems) - _NUM_TOLD} more; --json lists them all")
    if as_json:
        typer.echo(to_json(document))
    else:
        lines = [] if out is not None else list(map(_line, found.rows))
        typer.echo("\n".join([*lines, *map(_summary, found.figures)]))
    statuses: list[command.Status] = ["ok"] * len(found.rows)
    return command.exit_code([*statuses, *(["failed"] * len(found.problems))])  # type: ignore[list-item]


def _requests(inputs: list[str], recognizer: IsolatedRecognizer, limit: int | None) -> list[Request]:
    from signwave.inputs import find_inputs
    from slr.isolated.naming import is_table, request_of_clip, request_of_table
    from slr.medium import PICTURE_SUFFIXES, POSE_SUFFIXES, VIDEO_SUFFIXES

    frames = "frames" in recognizer.model.reads
    found: list[Request] = []
    for argument in inputs:
        if is_table(argument):
            found.append(request_of_table(argument))
            continue
        files = find_inputs(
            [argument],
            suffixes=VIDEO_SUFFIXES if frames else POSE_SUFFIXES | VIDEO_SUFFIXES,
            noun="video" if frames else ".pose file and no video",
            limit=limit,
            picture_suffixes=PICTURE_SUFFIXES if frames else (),
            beside="" if frames else ".pose",
        )
        found += [request_of_clip(file.name) for file in files]
    return found


def _document(recognizer: IsolatedRecognizer, found: Naming) -> dict[str, Any]:
    return {
        "model": recognizer.name,
        "digest": recognizer.digest,
        "languages": list(recognizer.languages),
        "signs": found.rows,
        "figures": found.figures,
        "problems": found.problems,
        "notes": found.notes,
    }


def _line(row: dict[str, Any]) -> str:
    """One sign: clip, span, its own gloss, then each language with its guesses, parted by tabs."""
    end = row["end_seconds"]
    span = "" if end is None else f"{row['start_seconds']:.2f}-{end:.2f}"
    cells = [row["clip"], span, row["gloss"]]
    for language, guesses in row["best"].items():
        cells.append(f"{language}: " + " ".join(f"{one['gloss']}={one['probability']:.3f}" for one in guesses))
    return "\t".join(cells)


def _summary(one: dict[str, Any]) -> str:
    name = one["language"] if one["language"] == one["own_language"] else f"as {one['language']}"
    left_out = f"{one['num_unknown']} of glosses it doesn't have, {one['num_failed']} not read"
    if not one["num_signs"]:
        return f"{one['source']}, {name}: none of its glosses is known ({left_out})"
    low, high = one["interval_95"]
    return (
        f"{one['source']}, {name}: top-1 {100 * one['top1']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], top-5 "
        f"{100 * one['top5']:.1f} %; by gloss {100 * one['class_top1']:.1f} and {100 * one['class_top5']:.1f} %; "
        f"{one['num_signs']} signs of {one['num_classes']} glosses ({left_out})"
    )
