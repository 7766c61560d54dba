"""Write the clips that the demo recognises and searches, out of the recordings of the installed package.

    python tools/demo/clips.py words OUT      a few fingerspelled words as .pose and .mp4, and one damaged file
    python tools/demo/clips.py gallery OUT    performances that the search model has never seen, with their manifest

The clips hold recordings that may not be passed on: they belong into a run folder, never into a repository.
"""

import sys
from pathlib import Path

from signwave.command import say
from signwave.config import load, read_yaml
from signwave.media.drawing import render_pose
from slr.datasets.fingerspelled_concepts import FingerspelledConceptsConfig
from slr.datasets.performances import write_gallery
from slr.datasets.stitching import write_word

ROOT = Path(__file__).resolve().parents[2]
WORDS = (("ase", "camera"), ("gsg", "brot"), ("gsg", "herbst"), ("bzs", "barco"), ("ssp", "flor"))
"""Alphabet and word; training saw none of the words, and of these alphabets only ase."""
GALLERY_SPLIT = "held_performances"


def write_words(out: Path) -> None:
    """A few words, a rendered picture of each, and a file cut off in the middle."""
    out.mkdir(parents=True, exist_ok=True)
    for alphabet, word in WORDS:
        pose = write_word(word, alphabet, out / f"{alphabet}-{word}.pose")
        render_pose(pose, pose.with_suffix(".mp4"), layout="hands_body", fit=True)
    whole = (out / f"{WORDS[0][0]}-{WORDS[0][1]}.pose").read_bytes()
    (out / "damaged.pose").write_bytes(whole[: len(whole) // 2])


def gallery(out: Path) -> None:
    """Every held-out performance, made exactly as the recipe's test makes it."""
    settings = read_yaml(ROOT / "conf" / "slr" / "fingerspelling_retrieval.yaml").get("data", {})
    config = load(FingerspelledConceptsConfig, None, [f"{key}={value}" for key, value in settings.items()])
    performances = config.performances()[GALLERY_SPLIT]
    manifest = write_gallery(out, performances, config.table(), rate_hz=config.rate_hz, split=GALLERY_SPLIT)
    say(f"{manifest}: {len(performances)} clips")


if __name__ == "__main__":
    {"words": write_words, "gallery": gallery}[sys.argv[1]](Path(sys.argv[2]))
