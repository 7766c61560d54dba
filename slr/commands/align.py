"""`slr align` and `slr align-eval`: where the glosses of a corpus are signed, and how well that was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signwave import command
from signwave.options import AsJson, Device, Limit, Quiet, Verbose, examples, setup_logging, to_json

ALIGN_EXAMPLES = examples(
    "slr align runs/phoenix2014_keypoints data/p14/train.jsonl.gz p14.parquet",
    "slr align runs/csl_daily_keypoints data/csl/train.jsonl.gz csl.parquet --language csl --prior-alpha 0.3",
)
EVAL_EXAMPLES = examples(
    "slr align-eval reference.jsonl.gz p14t.parquet",
    "slr align-eval dev-reference.jsonl.gz --durations train-reference.jsonl.gz     # the baselines alone",
)
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was made from other inputs.")]


def align(
    run: Annotated[Path, typer.Argument(help="Run or bundle folder of a recogniser.")],
    manifest: Annotated[Path, typer.Argument(help="Clips with glosses, as `slr prepare` writes them.")],
    out: Annotated[Path, typer.Argument(help="The table, NAME.parquet.")],
    corpus: Annotated[str, typer.Option(help="Name of the corpus; default: the manifest's folder.")] = "",
    language: Annotated[str, typer.Option(help="Name of its dictionary; default: the clips' language.")] = "",
    grow: Annotated[bool, typer.Option(help="Widen over blanks by the second-best gloss.")] = True,
    min_frames: Annotated[int, typer.Option(min=1, help="Shorter segments are widened to this.")] = 5,
    min_blank_steps: Annotated[int, typer.Option(min=0, help="As many blanks become a segment; 0 = none.")] = 2,
    prior_alpha: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Divide posteriors by this power of their means.")
    ] = 0.0,
    device: Device = "auto",
    limit: Limit = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Find the frames of every gloss of a corpus by CTC forced alignment; run it again to go on.

    Exit code 0 = every clip has its segments, 3 = some couldn't be aligned, 1 = none could.
    """
    from slr.crosslingual.aligning import align_manifest
    from slr.crosslingual.cutting import Cutting

    setup_logging(quiet=quiet, verbose=verbose)
    cutting = Cutting(grow=grow, min_frames=min_frames, min_blank_steps=min_blank_steps, prior_alpha=prior_alpha)
    report = align_manifest(
        run, manifest, out, corpus=corpus, language=language, cutting=cutting, device=device, limit=limit,
        overwrite=overwrite, quiet=quiet,
    )  # fmt: skip
    for name, reason in list(report.problems.items())[:20]:
        command.say(f"not aligned: {name}: {reason}")
    text = (
        f"{out}: {report.num_segments} segments of {report.num_clips - len(report.problems)} clips "
        f"(mean posterior {report.mean_posterior:.2f}, {report.num_grown} grown, {report.num_single_steps} of one "
        f"step, {report.num_unknown} of glosses that the model doesn't have), {report.num_blanks} blanks, "
        f"{len(report.problems)} clips not aligned{'; it was there already' if report.is_old else ''}"
    )
    typer.echo(to_json(vars(report)) if as_json else text)
    return command.EXIT_SOME_FAILED if report.problems else command.EXIT_DONE


def align_eval(
    reference: Annotated[Path, typer.Argument(help="True segments: .jsonl[.gz] or a table; see the manual.")],
    tables: Annotated[list[Path] | None, typer.Argument(metavar="[SEGMENTS]…", help="Tables of `slr align`.")] = None,
    durations: Annotated[
        Path | None, typer.Option(help="Reference that the mean lengths of glosses come from; default: the same.")
    ] = None,
    rate_hz: Annotated[float, typer.Option(min=1.0, help="Frames a second of the reference.")] = 25.0,
    as_json: AsJson = False,
) -> int:
    """Measure tables of segments against true ones, beside baselines that don't look at the clips.

    A line of a reference is a clip {"name", "num_frames", "gloss": […], "segments": [[start, end], …]} or a gloss
    {"clip", "gloss", "start_frame", "end_frame"}; frames are half-open.
    """
    from slr.crosslingual.alignment_scores import evaluate, read_reference, to_text
    from slr.crosslingual.segments import read_segments

    found = evaluate(
        read_reference(reference),
        {path.name: read_segments(path) for path in tables or []},
        durations=None if durations is None else read_reference(durations),
        rate_hz=rate_hz,
    )
    rows = {name: row.to_dict() for name, row in found.rows.items()}
    typer.echo(to_json({**vars(found), "rows": rows}) if as_json else to_text(found))
    return command.EXIT_DONE
