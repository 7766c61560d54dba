"""`slr features`: what a frozen encoder sees in the clips of a manifest, written once, read in every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from signwave import command
from signwave.options import AsJson, Device, DryRun, FailFast, Limit, Quiet, Verbose, setup_logging, to_json

if TYPE_CHECKING:
    from slr.features.encoders import FrameEncoder
    from slr.features.window_encoders import WindowEncoder
    from slr.features.windows import SlidingWindows

_MOST, _RATE_HZ = 64, 25.0


def features(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST… OUT", help="Manifests, then the cache folder.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="torchvision:MODEL, transformers:FOLDER, i3d (weights of BSL's recognisers), i3d:kinetics, or "
            "isolated:RUN of a recipe *_islr."
        ),
    ],
    weights: Annotated[
        str | None, typer.Option(help="torchvision, i3d: local .pth or .safetensors file, or random (a baseline).")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Sliding windows of so many frames, as retrieval reads them: 16.")
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=0, help="Windows of a clip that are encoded, spread evenly: 64; 0 is all.")
    ] = None,
    rate_hz: Annotated[
        float | None, typer.Option(min=1.0, help="Frames a second that clips are brought to: the encoder's, or 25.")
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Frames per feature: 1 for windows and pictures, 4 for video backbones."),
    ] = None,
    window_frames: Annotated[
        int | None, typer.Option(min=1, help="Without --window: frames that a video backbone sees of a step, 16.")
    ] = None,
    num_variants: Annotated[
        int, typer.Option(min=1, help="Variants per clip: 1 plain, the others random crops, for training.")
    ] = 1,
    flip: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the crops that are mirrored.")] = 0.0,
    batch_windows: Annotated[
        int | None, typer.Option(min=1, help="Pictures or windows encoded at once; by default what suits the device.")
    ] = None,
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

    Example, for recipes *_features: slr features data/p14/train.jsonl.gz data/p14/dev.jsonl.gz cache
    --encoder torchvision:resnet18 --weights resnet18.pth

    Example, for recipes *_retrieval: slr features data/h2s/train.jsonl.gz data/h2s/val.jsonl.gz cache
    --window 16 --stride 1 --most 64 --encoder i3d --weights bsl5k.pth.tar
    """
    from signwave.errors import UserError

    setup_logging(quiet=quiet, verbose=verbose)
    if len(manifests) < 2:
        raise UserError("give one manifest or more, and then the folder for the features")
    *sources, out = manifests
    from itertools import islice

    from signwave.manifest import read
    from slr.features.building import build

    wanted = _Wanted(encoder, weights, window, most, window_frames, stride)
    loaded = wanted.windows() if wanted.is_of_windows else wanted.steps()
    if batch_windows is not None:
        loaded.encoder.batch_windows = batch_windows
    clips = list(islice((clip for path in sources for clip in read(path)), limit))
    if dry_run:
        typer.echo(f"would encode {len(clips)} clips with {encoder}: {loaded.facts}, into {out}")
        return command.EXIT_DONE
    built = build(
        clips, loaded.encoder, out, windows=loaded.windows, rate_hz=rate_hz or loaded.rate_hz,
        num_variants=num_variants, flip=flip, device=command.pick_device(device), num_workers=num_workers,
        fail_fast=fail_fast, quiet=quiet,
    )  # fmt: skip
    for name, reason in built.problems.items():
        command.say(f"failed: {name}: {reason}")
    speed = f", {built.num_frames / built.seconds:.0f} frames/s" if built.num_frames else ""
    text = f"{out}: {built.num_done} clips encoded{speed}, {built.num_skipped} were there, {len(built.problems)} failed"
    typer.echo(to_json(built.to_dict()) if as_json else text)
    if not built.problems:
        return command.EXIT_DONE
    return command.EXIT_SOME_FAILED if built.num_done + built.num_skipped else command.EXIT_FAILED


class _Loaded(NamedTuple):
    """An encoder and what it looks at, for the machine and in words."""

    encoder: FrameEncoder | WindowEncoder
    windows: SlidingWindows | None
    rate_hz: float
    facts: str


class _Wanted(NamedTuple):
    """The options that say what is encoded."""

    name: str
    weights: str | None
    window: int | None
    most: int | None
    window_frames: int | None
    stride: int | None

    @property
    def is_of_windows(self) -> bool:
        """Whether sliding windows are meant; trunks of isolated signs see nothing else."""
        from slr.features.window_encoders import ISOLATED

        return self.window is not None or self.most is not None or self.name.startswith(ISOLATED)

    def windows(self) -> _Loaded:
        """A window encoder."""
        from signwave.errors import ConfigError
        from slr.features.window_encoders import load_window_encoder
        from slr.features.windows import SlidingWindows

        if self.window_frames is not None:
            raise ConfigError(f"--window-frames {self.window_frames}: is for steps; windows take --window alone")
        encoder = load_window_encoder(self.name, weights=self.weights, window_frames=self.window)
        most = _MOST if self.most is None else self.most or None
        windows = SlidingWindows(encoder.window_frames, self.stride or 1, most)
        return _Loaded(encoder, windows, encoder.rate_hz or _RATE_HZ, f"{encoder.dim} values for {windows}")

    def steps(self) -> _Loaded:
        """A frame encoder."""
        from slr.features.loading import load_encoder

        encoder = load_encoder(self.name, weights=self.weights, window_frames=self.window_frames, stride=self.stride)
        height_px, width_px = encoder.spec.size_px
        facts = f"{encoder.dim} values every {encoder.stride} frames of {width_px}x{height_px} pixels"
        return _Loaded(encoder, None, _RATE_HZ, facts)
