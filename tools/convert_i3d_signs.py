"""Turn a checkpoint of I3D that names signs (BSL-1K, CiCo's bsl5k.pth.tar) into the folder of a recogniser.

    python tools/convert_i3d_signs.py bsl5k.pth.tar words.txt runs/bsl5k --language bsl
    slr spot runs/bsl5k data/how2sign/train.jsonl.gz spots.parquet
    python recipes/slr/how2sign_domain_islr.py data.languages.bsl=spots.parquet initial_run=runs/bsl5k
    slr features data/how2sign/*.jsonl.gz features/aware --encoder isolated:runs/how2sign_domain_islr --window 16

words.txt names the classes, one a line, in their order; without it they are called by number. The checkpoint has no
class for "no sign": that class is given a probability near 0. Its probabilities are taken as they are, uncalibrated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from signwave import bundle
from signwave.errors import ArtefactError, UserError
from slr.crosslingual.segments import BLANK_GLOSS
from slr.features.checkpoints import load_i3d
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND
from slr.models.i3d_trunk import I3dConfig
from slr.models.interface import MAIN

_NO_SIGN_BIAS = -30.0
"""Low enough to never be said, near enough to be learnt."""


def convert(source: Path, words: Path | None, target: Path, *, language: str, kinetics_pixels: bool = False) -> int:
    """Write the folder and return the number of signs.

    Raises:
        ArtefactError: the checkpoint is none of I3D, has no classifier, or has another number of classes than words.
    """
    network = load_i3d(source)
    if network.logits is None:
        raise ArtefactError(
            f"{source}: has no classifier, so it names no signs; use it as `slr features --encoder i3d`"
        )
    layer = network.logits.conv3d
    glosses = [f"{number:04d}" for number in range(layer.out_channels)]
    if words is not None:
        glosses = [line.strip() for line in words.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(glosses) != layer.out_channels or len(set(glosses)) != len(glosses):
        raise ArtefactError(
            f"{words}: {len(glosses)} names, {len(set(glosses))} of them different, for {layer.out_channels} classes; "
            "give each class a name of its own, one a line"
        )
    trunk = {"vocab_size": 2, "middle": 0.5, "spread": 0.5 if kinetics_pixels else I3dConfig.spread}
    classes = [BLANK_GLOSS, *glosses]
    config = {
        "trunk_kind": "slr.i3d_trunk", "trunk": trunk, "num_classes": {language: len(classes)}, "classifier": "linear",
        "scale": 30.0, "dropout": 0.5,
    }  # fmt: skip
    model = IsolatedSigns(**config)
    network.logits = None
    weight, bias = layer.weight.detach().flatten(1), layer.bias
    state = {f"trunk.net.{name}": value for name, value in network.state_dict().items()}
    state[f"classifiers.{MAIN}.0.weight"] = torch.cat([torch.zeros_like(weight[:1]), weight])
    state[f"classifiers.{MAIN}.0.bias"] = torch.cat([torch.tensor([_NO_SIGN_BIAS]), bias.detach()])
    model.load_state_dict(state)
    info = {
        "name": source.name, "rate_hz": 25.0, "window_frames": 16, "evaluation_instances": 1, "size_px": [224, 224],
        "stride": model.stride, "reads": model.reads, "temperatures": {language: 1.0}, "glosses": {language: classes},
        "sources": {},
    }  # fmt: skip
    bundle.save(target, kind=ISOLATED_KIND, model=model, config=config, info=info)
    return len(glosses)


def main(arguments: list[str] | None = None) -> int:
    """Convert the file named on the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkpoint, .pth.tar, .pth or .safetensors")
    parser.add_argument("words", type=Path, nargs="?", help="names of its classes")
    parser.add_argument("target", type=Path, help="folder for the recogniser")
    parser.add_argument("--language", default="bsl")
    parser.add_argument("--kinetics-pixels", action="store_true", help="weights want pixels in [-1, 1], not half of it")
    given = parser.parse_args(arguments)
    try:
        number = convert(
            given.source, given.words, given.target, language=given.language, kinetics_pixels=given.kinetics_pixels
        )
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{given.target}: names {number} signs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
