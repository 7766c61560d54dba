"""Does an auxiliary sign corpus help a small target corpus? The stages and the controls in one command.

    python tools/make_sign_corpus.py raw/two --languages 2 --shared 0.6 --num-glosses 20 --num-train 30,200 \
        --num-test 80,24 --num-signers 2,6 --unseen-signers 3,0
    for n in 1 2; do slr prepare phoenix2014 raw/two/language$n data/language$n \
        --poses raw/two/language$n/phoenix-2014-multisigner/poses; done
    python recipes/slr/crosslingual_study.py data/language1 data/language2 --truth raw/two/shared_signs.tsv --seeds 5

Other corpora: --recipe and --islr name the recipes, --set and --islr-set pass settings on. What is finished isn't
run again, so the same command goes on after it was stopped. Writes docs/results/NAME.json, NAME.md and NAME.png.
Several auxiliary folders are several languages, each with a mapping of its own.
"""

import argparse
import shlex
import sys
from pathlib import Path

from signwave import command
from signwave.errors import UserError
from signwave.rundir import atomic_write, environment, write_json

ROOT = Path(__file__).resolve().parents[2]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    from slr.crosslingual.study.conditions import CONTROLS, LABELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder of `slr prepare` with the target corpus")
    parser.add_argument("auxiliary", type=Path, nargs="+", help="folders of `slr prepare` with auxiliary corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/crosslingual_study"), help="folder of stages and runs")
    parser.add_argument("--name", default="crosslingual_study", help="of the files in --results")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--conditions", default=",".join(CONTROLS), help=f"comma list of {', '.join(LABELS)}")
    parser.add_argument("--compare", default="mapped", help="condition that the table compares with the others")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--recipe", default="signers_keypoints", help="of continuous recognition")
    parser.add_argument("--islr", default="signers_islr", help="of isolated recognition")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every recognition run")
    parser.add_argument("--islr-set", action="append", default=[], metavar="KEY=VALUE", help="for the isolated one")
    parser.add_argument("--target-steps", type=int, default=300, help="batches of the target in every condition")
    parser.add_argument("--auxiliary-steps", type=int, default=300, help="batches of the auxiliary corpus beside them")
    parser.add_argument("--first-steps", type=int, nargs=2, default=(300, 500), metavar=("TARGET", "AUXILIARY"))
    parser.add_argument("--min-agreement", type=int, default=3, choices=(1, 2, 3), help="of the methods of `slr map`")
    parser.add_argument("--max-gap", type=float, default=0.5, help="of `slr map`")
    parser.add_argument("--truth", type=Path, help="table of the signs that are truly alike")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--launcher", default="", help="words before each training's command, e.g. a queue's")
    parser.add_argument(
        "--quick", action="store_true", help="twenty steps, two seeds: shows that it runs, nothing else"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the study and write what came out."""
    options = parse(arguments)
    command.setup_logging()
    try:
        return _study(options)
    except UserError as error:
        return command.fail(str(error))
    except KeyboardInterrupt:
        command.say("interrupted; the same command goes on")
        return command.EXIT_INTERRUPTED


def _script(name: str) -> Path:
    """The file of a recipe: a name beside this script, or a path."""
    return Path(name) if name.endswith(".py") else Path(__file__).with_name(f"{name}.py")


def _study(options: argparse.Namespace) -> int:
    from signwave.plots.figure import save_png
    from slr.crosslingual.study.conditions import LABELS
    from slr.crosslingual.study.plan import StudyPlan, run
    from slr.crosslingual.study.report import Contrast, plot, to_markdown

    quick = options.quick
    plan = StudyPlan(
        target=options.target,
        auxiliary=tuple(options.auxiliary),
        out=options.out,
        conditions=tuple(name for name in options.conditions.split(",") if name),
        seeds=tuple(range(min(options.seeds, 2) if quick else options.seeds)),
        target_steps=20 if quick else options.target_steps,
        auxiliary_steps=20 if quick else options.auxiliary_steps,
        recipe=_script(options.recipe),
        islr=_script(options.islr),
        settings=(*options.set, "train.val_every_steps=20") if quick else tuple(options.set),
        islr_settings=(*options.islr_set, "train.max_steps=20") if quick else tuple(options.islr_set),
        first_steps=(20, 20) if quick else tuple(options.first_steps),
        min_agreement=options.min_agreement,
        max_gap=options.max_gap,
        truth=options.truth,
        num_jobs=options.jobs,
        launcher=tuple(shlex.split(options.launcher)),
    )
    found = run(plan)
    contrasts = [Contrast(**{**one, "interval_95": tuple(one["interval_95"])}) for one in found["contrasts"]]
    known = [one.first for one in contrasts]
    first = options.compare if options.compare in known else (known or plan.conditions)[0]
    table = to_markdown(found["conditions"], contrasts, labels=LABELS, first=first)
    base = options.results / options.name
    document = {"command": shlex.join(["python", "recipes/slr/crosslingual_study.py", *sys.argv[1:]])}
    write_json(base.with_suffix(".json"), {**document, "environment": environment(), **found})
    atomic_write(base.with_suffix(".md"), table)
    save_png(plot(found["conditions"], labels=LABELS), base.with_suffix(".png"))
    sys.stdout.write(table)
    return command.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
