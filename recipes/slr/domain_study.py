"""Does a domain-aware sign encoder help retrieval? Written to docs/results/NAME.json, .md, .png.

    python recipes/slr/domain_study.py data/language1 data/language2 --jobs 2

The first corpus has glosses, the second captions; docs/sign_video_retrieval.md makes both. What is done isn't done
again; a run that was killed goes on.
"""

import argparse
import sys
from pathlib import Path

from signwave import command
from signwave.errors import UserError
from slr.retrieval.study.domain import DomainPlan, run
from slr.retrieval.study.report import write

ROOT = Path(__file__).resolve().parents[2]
QUIET = ("train.num_threads=1", "train.progress_bar=false")


def main() -> int:
    """Train, spot, train, extract, search, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of `slr prepare` with glosses")
    parser.add_argument("target", type=Path, help="folder of `slr prepare` with captions")
    parser.add_argument("--name", default="domain_made_up", help="of the result")
    parser.add_argument("--seeds", default="0,1,2", help="comma list")
    parser.add_argument("--language", default="en", help="of the captions")
    parser.add_argument("--alpha", type=float, default=0.8, help="weight of the agnostic features where both are mixed")
    parser.add_argument("--threshold", type=float, default=0.6, help="probability above which a sign is spotted")
    parser.add_argument("--first-set", nargs="*", default=["train.max_steps=500"], metavar="KEY=VALUE")
    parser.add_argument("--encoder-set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of every retrieval run")
    parser.add_argument("--runs", type=Path, default=None, help="folder of the runs; default: runs/NAME")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--quick", action="store_true", help="twenty steps a run: shows that it runs, nothing else")
    options = parser.parse_args()
    quick = ("train.max_steps=20", "train.val_every_steps=20") if options.quick else ()
    command.setup_logging()
    try:
        plan = DomainPlan(
            options.source, options.target, options.runs or Path("runs") / options.name, ROOT / "recipes" / "slr",
            seeds=tuple(map(int, options.seeds.split(","))), language=options.language, alpha=options.alpha,
            first_settings=(*QUIET, *options.first_set, *quick),
            encoder_settings=(*QUIET, *options.encoder_set, *quick),
            settings=(*QUIET, *options.set, *quick), num_jobs=options.jobs,
            threshold=0.02 if options.quick else options.threshold,
        )  # fmt: skip
        sys.stdout.write(write(run(plan), options.out, options.name))
    except UserError as error:
        return command.fail(str(error))
    return command.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
