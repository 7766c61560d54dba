"""`slr prepare`: thin, no logic; everything heavy is imported when the command runs."""

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave.errors import UserError
from signwave.options import AsJson, DryRun, FailFast, Isolate, Limit, Quiet, Verbose, setup_logging, to_json

if TYPE_CHECKING:
    from signwave.manifest import Clip
    from signwave.prepare import PrepareReport, Problem, Row
    from slr.corpora.statistics import Statistics
    from slr.datasets.annotations import Published

CORPORA = (
    "phoenix2014",
    "phoenix2014-si5",
    "phoenix2014t",
    "csl-daily",
    "ce-csl",
    "isharah",
    "how2sign",
    "wlasl",
    "autsl",
    "asl-citizen",
    "slrt",
    "vac",
    "fingerspelling",
    "poses",
    "videos",
)
EXAMPLES = (
    "slr prepare phoenix2014 raw/phoenix-2014.v3 data/p14 --pack video --size 256x256",
    "slr prepare phoenix2014t raw/PHOENIX-2014-T-release-v3 data/p14t --poses extract",
    "slr prepare videos my-clips data/mine --json",
    "slr prepare fingerspelling package data/fingerspelling",
    "slr prepare wlasl raw/WLASL data/wlasl100 --subset 100",
)


def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help=f"One of: {', '.join(CORPORA)}.")],
    raw_dir: Annotated[
        str, typer.Argument(metavar="RAW_DIR", help="Folder as distributed; for fingerspelling also: package.")
    ],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the manifests go.")],
    pack: Annotated[
        str, typer.Option(help="Repack clips for fast loading: video (short mp4 files) or jpeg (indexed shards).")
    ] = "",
    size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the repacked frames.")] = "256x256",
    poses: Annotated[
        str,
        typer.Option(
            metavar="extract|SOURCE",
            help="Keypoints: extract runs MediaPipe; or a folder of .pose, MMPose or OpenPose files, or SLRT's pickle.",
        ),
    ] = "",
    pose_python: Annotated[
        str | None, typer.Option(help="A Python that has mediapipe; default: $SIGNWAVE_POSE_PYTHON, then this one.")
    ] = None,
    subset: Annotated[str, typer.Option(help="A part of the corpus; wlasl: 100, 300, 1000 or 2000 glosses.")] = "",
    num_workers: Annotated[int, typer.Option(min=1, help="Clips worked on at the same time.")] = 4,
    isolate: Isolate = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Turn a corpus into checked manifests, one per split. Problems are named with file and line; the rest is done."""
    from signwave.prepare import run_prepare
    from slr.corpora.preparation import Preparation

    setup_logging(quiet=quiet, verbose=verbose)
    module = _corpus(corpus)
    if subset and subset not in getattr(module, "SUBSETS", {}):
        allowed = ", ".join(getattr(module, "SUBSETS", {})) or "none, this corpus has no parts"
        raise typer.BadParameter(f"'{subset}' is no part of {corpus}; allowed are {allowed}", param_hint="--subset")
    stages = Preparation(
        out_dir=out_dir,
        pack=pack,
        size_px=_size(size),
        poses=poses,
        pose_python=pose_python,
        num_workers=num_workers,
        show_progress=not quiet,
    )
    found: dict[str, list[Clip]] = {}
    tables: list[str] = []

    def figures(report: "PrepareReport") -> dict[str, Any]:
        counted = _count(report, found, _published(module, subset) if limit is None else None)
        tables.append(counted.table())
        return {"corpus": corpus, "statistics": counted.to_dict(), **stages.figures}

    # A corpus whose media lie in one file is checked in the files that are made of it, also when none shall stay.
    with tempfile.TemporaryDirectory(prefix="signwave-") as scratch:
        report = run_prepare(
            _rows(module, raw_dir, Path(scratch) if dry_run else out_dir, subset),
            out_dir,
            check=module.check,
            isolate=isolate,
            on_clip=lambda clip: found.setdefault(clip.split, []).append(clip),
            num_workers=num_workers,
            limit=limit,
            fail_fast=fail_fast,
            dry_run=dry_run,
            show_progress=not quiet,
            finish=stages.finish if pack or poses else None,
            extra=figures,
        )
    if as_json:
        typer.echo(to_json(report.to_dict()))
    else:
        typer.echo("\n".join([report.summary(), *stages.summaries, *tables]))
    return report.exit_code


def _rows(module: ModuleType, raw_dir: str, out_dir: Path, subset: str) -> "Iterator[Row | Problem]":
    """The rows of a corpus; one that holds its media in a single file writes them out as the rows come."""
    options: dict[str, Any] = {"subset": subset} if subset else {}
    if getattr(module, "WRITES_MEDIA", False):
        options["out_dir"] = out_dir
    rows: Iterator[Row | Problem] = module.prepare(raw_dir, **options)
    return rows


def _published(module: ModuleType, subset: str) -> "Mapping[str, Published] | None":
    found: Mapping[str, Published] | None = module.SUBSETS[subset] if subset else getattr(module, "PUBLISHED", None)
    return found


def _count(
    report: "PrepareReport", found: "dict[str, list[Clip]]", published: "Mapping[str, Published] | None"
) -> "Statistics":
    """Count what was found, and warn where it isn't what was published."""
    from slr.corpora.statistics import statistics

    counted = statistics(found)
    report.warnings += counted.warnings(published)
    return counted


def _corpus(name: str) -> ModuleType:
    if name not in CORPORA:
        raise UserError(f"no corpus '{name}'; allowed are {', '.join(CORPORA)}")
    return importlib.import_module(f"slr.datasets.{name.replace('-', '_')}")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise typer.BadParameter(f"'{text}' is no size; write HEIGHTxWIDTH, such as 256x256", param_hint="--size")
    return int(height), int(width)
