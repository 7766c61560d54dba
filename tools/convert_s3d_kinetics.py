"""Turn the Kinetics-400 weights of S3D that SLRT starts from (S3D_kinetics400.pt) into a file as torchvision writes it.

    python tools/convert_s3d_kinetics.py S3D_kinetics400.pt OUT.pth

Both are the same layers under other names: `module.base.3.conv_s.weight` becomes `features.3.0.0.weight`. Give OUT.pth
wherever torchvision's s3d-*.pth is taken, and set `normalisation: half`: these weights want pixels in [-1, 1].
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from signwave.errors import ArtefactError, UserError
from slr.models.weights import read_weights

_PARTS = {"conv_s": "0.0", "bn_s": "0.1", "conv_t": "1.0", "bn_t": "1.1", "conv": "0", "bn": "1"}
_LAYER = re.compile(r"base\.(\d+)\.(?:(branch\d)\.(\d)\.)?(conv_s|bn_s|conv_t|bn_t|conv|bn)\.(\w+)")


def torchvision_name(name: str) -> str:
    """The name that torchvision gives to a weight of SLRT's file.

    Raises:
        ArtefactError: SLRT's S3D has no such weight.
    """
    bare = name.removeprefix("module.")
    if bare.startswith("fc.0."):
        return bare.replace("fc.0.", "classifier.1.")
    match = _LAYER.fullmatch(bare)
    if match is None:
        raise ArtefactError(f"'{name}' is no weight of SLRT's S3D, whose names are like module.base.0.conv_s.weight")
    layer, branch, place, part, kind = match.groups()
    # torchvision's first branch is a single convolution, without a list around it.
    inside = "" if branch is None else f"{branch}." if branch == "branch0" else f"{branch}.{place}."
    return f"features.{layer}.{inside}{_PARTS[part]}.{kind}"


def convert(source: Path, target: Path) -> int:
    """Write the converted file and return the number of weights.

    Raises:
        ArtefactError: the source can't be read, or holds something else.
    """
    converted: dict[str, Tensor] = {torchvision_name(name): value for name, value in read_weights(source).items()}
    torch.save(converted, target)
    return len(converted)


def main(arguments: list[str] | None = None) -> int:
    """Convert the file named on the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="SLRT's S3D weights -> torchvision's names")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    try:
        count = convert(given.source, given.target)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{given.target}: {count} weights\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
