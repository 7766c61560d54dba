"""Score the demo's transcripts with `asr score` and keep the figures beside them, in score.json.

python tools/demo/scores.py TRANSCRIPTS MANIFEST
"""

import subprocess
import sys
from pathlib import Path

from signwave.rundir import atomic_write


def main(transcripts: Path, manifest: str) -> int:
    """The same command that a person would type."""
    asr = Path(sys.executable).parent / "asr"
    done = subprocess.run(
        [asr, "score", transcripts, manifest, "--language", "en", "--json"], stdout=subprocess.PIPE, check=False
    )
    if done.returncode == 0:
        atomic_write(transcripts.parent / "score.json", done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
