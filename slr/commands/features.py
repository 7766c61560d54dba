"""`slr features`: what a frozen encoder sees in the clips of a manifest, written once, read in every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signwave import command
from signwave.options import AsJson, Device, DryRun, FailFast, Limit, Quiet, Verbose, setup_logging, to_json


def features(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST… OUT", help="Manifests, then the cache folder.")],
    encoder: Annotated[str, typer.Option(help="torchvision:MODEL or transformers:FOLDER.")],
    weights: Annotated[
        str | None, typer.Option(help="torchvision: local .pth or .safetensors file, or random (a baseline).")
    ] = None,
    rate_hz: Annotated[float, typer.Option(min=1.0, help="Frames a second that clips are brought to.")] = 25.0,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Frames per feature: 1 for pictures, 4 for video backbones.")
    ] = None,
    window_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames that a feature sees: torchvision's video backbones, 16.")
    ] = None,
    num_variants: Annotated[
        int, typer.Option(min=1, help="Variants per clip: 1 plain, the others random crops, for training.")
    ] = 1,
    flip: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the crops that are mirrored.")] = 0.0,
    batch_windows: Annotated[int, typer.Option(min=1, help="Pictures or windows encoded at once.")] = 16,
    num_workers: Annotated[int, typer.Option(min=1, help="Clips decoded ahead.")] = 2,
    device: Device = "auto",
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Encode the clips of manifests with a frozen backbone into one cache; run it again to go on.

    Exit code 0 = all clips are there, 3 = some couldn't be encoded, 1 = none could.

    Example: slr features data/p14/train.jsonl.gz data/p14/dev.jsonl.gz cache --encoder torchvision:resnet18
    --weights resnet18.pth
    """
    from signwave.errors import UserError

    setup_logging(quiet=quiet, verbose=verbose)
    if len(manifests) < 2:
        raise UserError("give one manifest or more, and then the folder for the features")
    *sources, out = manifests
    from itertools import islice

    from signwave.manifest import read
    from slr.features.building import build
    from slr.features.loading import load_encoder

    loaded = load_encoder(encoder, weights=weights, window_frames=window_frames, stride=stride)
    loaded.batch_windows = batch_windows
    clips = list(islice((clip for path in sources for clip in read(path)), limit))
    if dry_run:
        height_px, width_px = loaded.spec.size_px
        facts = f"{loaded.dim} values every {loaded.stride} frames of {width_px}x{height_px} pixels"
        typer.echo(f"would encode {len(clips)} clips with {encoder}: {facts}, into {out}")
        return command.EXIT_DONE
    built = build(
        clips, loaded, out, rate_hz=rate_hz, num_variants=num_variants, flip=flip, device=command.pick_device(device),
        num_workers=num_workers, fail_fast=fail_fast, quiet=quiet,
    )  # fmt: skip
    for name, reason in built.problems.items():
        command.say(f"failed: {name}: {reason}")
    speed = f", {built.num_frames / built.seconds:.0f} frames/s" if built.num_frames else ""
    text = f"{out}: {built.num_done} clips encoded{speed}, {built.num_skipped} were there, {len(built.problems)} failed"
    typer.echo(to_json(built.to_dict()) if as_json else text)
    if not built.problems:
        return command.EXIT_DONE
    return command.EXIT_SOME_FAILED if built.num_done + built.num_skipped else command.EXIT_FAILED
