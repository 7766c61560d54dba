"""The main job on real input, from recordings to a report: `make demo`, or `python tools/demo [--out DIR]`.

It trains a sign recogniser and a sign search on fingerspelling recordings, fine-tunes a speech recogniser on telephone
prompts and another one on three synthesised languages, uses each of them through the commands, and writes
OUT/results.json and OUT/report.html. An interrupted demo goes on where it stood when started again.
"""

import argparse
import sys
import time
from pathlib import Path

import page
import results
from lanes import Lanes, StepFailed
from steps import Demo, sign_steps, speech_steps

from signwave.command import EXIT_INTERRUPTED, fail, say
from signwave.errors import UserError
from signwave.rundir import write_json


def main() -> int:
    """Run both lanes, then write the figures and the page."""
    parser = argparse.ArgumentParser(prog="python tools/demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="where everything goes (default: %(default)s)"
    )
    parser.add_argument(
        "--speech-folder", type=Path, help="recordings with transcripts to use in place of the English prompts"
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    demo = Demo(arguments.out, arguments.speech_folder)
    lanes = Lanes(demo.out)
    try:
        lanes.run({"signs": sign_steps(demo), "speech": speech_steps(demo)})
        figures = results.collect(demo, lanes.outcomes, seconds_total=time.monotonic() - started)
        write_json(demo.out / "results.json", figures)
        page.write(demo, figures, demo.out / "report.html")
    except StepFailed as error:
        say(f"error: {error}")
        return 1
    except UserError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return EXIT_INTERRUPTED
    print(results.summary(figures))
    print(f"report: {demo.out / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
