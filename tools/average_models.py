"""Average the weights of trained models of one shape: runs of several seeds, a donor and its child, checkpoints.

    python tools/average_models.py OUT runs/a runs/b runs/c
    python tools/average_models.py OUT runs/donor runs/child --weights 0.3 0.7
    python tools/average_models.py OUT runs/a runs/a/checkpoints/step-000000400.ckpt

OUT is a bundle folder like those of runs: `asr transcribe --model OUT`, `head.recogniser_dir=OUT`. Vocabulary, language
model and settings are the first model's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from signwave import command
from signwave.averaging import average_models
from signwave.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the new model")
    parser.add_argument("models", nargs="+", type=Path, help="runs, bundles, and after the first also checkpoints")
    parser.add_argument("--weights", nargs="+", type=float, help="one a model; divided by their sum")
    arguments = parser.parse_args(argv)
    try:
        digest = average_models(arguments.out, arguments.models, weights=arguments.weights)
    except UserError as error:
        return command.fail(str(error))
    command.say(f"{arguments.out}: mean of {len(arguments.models)} models, {digest[:12]}")
    return command.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
