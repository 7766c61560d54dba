"""Is the fine-grained score worth it, and several languages at once? Written to docs/results/NAME.json, .md, .png.

    python recipes/slr/retrieval_study.py data/signers pose=features/signers --name retrieval_made_up --seeds 0,1,2

Every condition is the recipe signers_retrieval (--recipe NAME for another) with the few settings that make the
difference; docs/sign_video_retrieval.md makes the data. What is done isn't done again; a run that was killed goes on.
"""

import argparse
import sys
from pathlib import Path

from signwave import command
from signwave.errors import UserError
from slr.retrieval.study.plan import CONDITIONS, StudyPlan, run
from slr.retrieval.study.report import write

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Train, search, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train, dev and test manifests that have captions")
    parser.add_argument("features", nargs="+", metavar="STREAM=FOLDER", help="caches of `slr features`")
    parser.add_argument("--recipe", default="signers_retrieval", help="name of a recipe beside this one")
    parser.add_argument("--name", default="retrieval_made_up", help="of the result")
    parser.add_argument("--conditions", default=",".join(CONDITIONS), help="comma list; default: all")
    parser.add_argument("--seeds", default="0,1,2", help="comma list")
    parser.add_argument("--language", default="en", help="of the conditions with one language")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of every run")
    parser.add_argument("--runs", type=Path, default=None, help="folder of the runs; default: runs/NAME")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--quick", action="store_true", help="twenty steps a run: shows that it runs, nothing else")
    arguments = parser.parse_args()
    quick = ("train.max_steps=20", "train.val_every_steps=20") if arguments.quick else ()
    try:
        plan = StudyPlan(
            ROOT / "recipes" / "slr" / f"{arguments.recipe}.py", arguments.data, tuple(arguments.features),
            arguments.runs or Path("runs") / arguments.name, tuple(arguments.conditions.split(",")),
            tuple(map(int, arguments.seeds.split(","))), arguments.language,
            ("train.num_threads=1", "train.progress_bar=false", *arguments.set, *quick), arguments.jobs,
        )  # fmt: skip
        sys.stdout.write(write(run(plan), arguments.out, arguments.name))
    except UserError as error:
        return command.fail(str(error))
    return command.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
