"""Run a few `slr search` commands in each language, and keep what they print: SEARCHES/LANGUAGE-NUMBER.json and .html.

python tools/demo/searches.py INDEX SEARCHES
"""

import subprocess
import sys
from pathlib import Path

from signwave.rundir import atomic_write

QUERIES = {"en": ("house", "water"), "de": ("Haus", "Wasser"), "ar": ("بيت", "ماء")}


def main(index: str, out: Path) -> int:
    """Each query goes through the installed command, as a person's would."""
    out.mkdir(parents=True, exist_ok=True)
    slr = Path(sys.executable).parent / "slr"
    for name, text in [(f"{key}-{i}", text) for key, texts in QUERIES.items() for i, text in enumerate(texts, 1)]:
        done = subprocess.run(
            [slr, "search", index, "--text", text, "-k", "6", "--json", "--html", out / f"{name}.html"],
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0:
            return done.returncode
        atomic_write(out / f"{name}.json", done.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
