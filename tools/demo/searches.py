"""Run a few `slr search` commands, one a language, and keep what they print: SEARCHES/LANGUAGE.json and .html.

python tools/demo/searches.py INDEX SEARCHES
"""

import subprocess
import sys
from pathlib import Path

from signwave.rundir import atomic_write

QUERIES = {"en": "house", "de": "Haus", "ar": "بيت"}


def main(index: str, out: Path) -> int:
    """Each query goes through the installed command, as a person's would."""
    out.mkdir(parents=True, exist_ok=True)
    slr = Path(sys.executable).parent / "slr"
    for language, text in QUERIES.items():
        done = subprocess.run(
            [slr, "search", index, "--text", text, "-k", "6", "--json", "--html", out / f"{language}.html"],
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0:
            return done.returncode
        atomic_write(out / f"{language}.json", done.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
