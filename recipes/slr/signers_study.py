"""Every kind of model on made-up signers: trained one after the other, collected into docs/results/signers_study.json.

    python tools/make_sign_corpus.py raw/signers
    slr prepare phoenix2014 raw/signers data/signers --pack video --size 80x64 \
        --poses raw/signers/phoenix-2014-multisigner/poses
    python recipes/slr/signers_study.py data/signers raw/signers [--models keypoints,resnet] [--runs runs] [--quick]

A run that is finished is not run again. The two streams of the two-stream model start from the runs of `s3d` and
`s3d_keypoints`, which are trained first. Figures: WER by official-p14 with its interval, training time, and how far the
ends of aligned signs lie from where they were drawn, in frames of 25 a second.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from signwave import command
from signwave.rundir import environment, read_json, write_json
from slr.training.drawn_times import boundary_errors

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "results" / "signers_study.json"
KEYPOINT_STREAM = (
    "model.stream=keypoints", "model.heatmap_height_px=40", "model.heatmap_width_px=32", "model.sigma_px=2.5",
    "train.max_steps=500",
)  # fmt: skip
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "keypoints": ("signers_keypoints", ()),
    "resnet": ("signers_resnet", ()),
    "corrnet": ("signers_corrnet", ()),
    "s3d": ("signers_s3d", ()),
    "s3d_keypoints": ("signers_s3d", KEYPOINT_STREAM),
    "two_stream": ("signers_two_stream", ("frames_run={runs}/s3d", "keypoints_run={runs}/s3d_keypoints")),
}


def main() -> int:
    """Train what isn't trained yet, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of `slr prepare phoenix2014`")
    parser.add_argument("raw", type=Path, help="folder of tools/make_sign_corpus.py")
    parser.add_argument("--models", default=",".join(MODELS), help="comma list; default: all")
    parser.add_argument("--runs", type=Path, default=Path("runs/signers_study"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--quick", action="store_true", help="twenty steps a model: shows that it runs, nothing else")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.models.split(",") if name not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]}; allowed are {', '.join(MODELS)}")
    figures: dict[str, Any] = {}
    for name in arguments.models.split(","):
        run = arguments.runs / name
        if not (run / "results.json").is_file():
            _train(name, run, arguments.data, quick=arguments.quick)
        figures[name] = _collect(run, arguments.data, arguments.raw)
        command.say(f"{name}: {figures[name]}")
    write_json(arguments.out, {"command": " ".join(sys.argv), "environment": environment(), "figures": figures})
    return 0


def _train(name: str, run: Path, data: Path, *, quick: bool) -> None:
    script, settings = MODELS[name]
    own = [text.format(runs=run.parent) for text in settings]
    own += ["train.max_steps=20", "train.val_every_steps=20"] if quick else []
    where = (f"name={run.name}", f"runs_dir={run.parent}", f"data.manifest_dir={data}", "train.num_threads=1")
    subprocess.run([sys.executable, str(ROOT / "recipes" / "slr" / f"{script}.py"), *where, *own], check=True)


def _collect(run: Path, data: Path, raw: Path) -> dict[str, Any]:
    results = read_json(run / "results.json")
    splits = {name: results["figures"][name]["official-p14"] for name in ("dev", "test")}
    errors = sorted(boundary_errors(run, data / "test.jsonl.gz", raw))
    return {
        **{f"{name}_wer": split["wer"] for name, split in splits.items()},
        "test_interval_95": splits["test"]["interval_95"],
        "num_test_glosses": splits["test"]["num_reference_tokens"],
        "median_boundary_error_frames": errors[len(errors) // 2],
        "mean_boundary_error_frames": sum(errors) / len(errors),
        "num_parameters": results["num_parameters"],
        "num_steps": results["num_steps"],
        "seconds": results["seconds"],
        "seed": results["seed"],
        "commit": results["environment"].get("commit", ""),
    }


if __name__ == "__main__":
    sys.exit(main())
