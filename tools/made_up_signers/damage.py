"""Broken things as the real corpora hold them, planted for tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from made_up_signers.layout import ROOT, Made, frame_folder

LONG_LABEL = 24  # glosses; the clip keeps 16 frames
_SHORT_FRAMES = 16


def plant(out: Path, made: list[Made]) -> list[Made]:
    """Break copies of training clips, and note in `annotations/automatic/bad.jsonl` which and how.

    The broken clips are rows of the training table: one with a truncated picture, one without any, one of 16 frames
    with a label that can't be aligned. A stray .lprof file lies among the dev clips, and one label holds two blanks
    in a row, which is no fault but must be read.

    Args:
        out: folder of the corpus.
        made: its clips; at least one of train and one of dev.

    Returns:
        All clips, with the broken ones.
    """
    source = next(clip for clip in made if clip.split == "train")
    dev = next(clip for clip in made if clip.split == "dev")
    broken = {kind: source._replace(id=f"{source.id}{number}", spans=()) for number, kind in enumerate(_KINDS, 90)}
    for kind, clip in broken.items():
        folder = frame_folder(out, "train", clip.id)
        shutil.copytree(frame_folder(out, "train", source.id), folder)
        _KINDS[kind](folder)
    label = (source.glosses * LONG_LABEL)[:LONG_LABEL]
    broken["label_too_long"] = broken["label_too_long"]._replace(glosses=label, num_frames=_SHORT_FRAMES)
    spaced = source._replace(id=f"{source.id}80", glosses=(*source.glosses[:1], "", *source.glosses[1:]), spans=())
    shutil.copytree(frame_folder(out, "train", source.id), frame_folder(out, "train", spaced.id))
    (frame_folder(out, "dev", dev.id).parent.parent / "make_features.py.lprof").write_bytes(b"timings\n")
    notes = out / ROOT / "annotations" / "automatic" / "bad.jsonl"
    notes.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"clip": clip.id, "split": clip.split, "kind": kind}) for kind, clip in broken.items()]
    notes.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [*made, *broken.values(), spaced]


def _truncate(folder: Path) -> None:
    pictures = sorted(folder.iterdir())
    picture = pictures[len(pictures) // 2]
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2])


def _empty(folder: Path) -> None:
    for picture in folder.iterdir():
        picture.unlink()


def _shorten(folder: Path) -> None:
    for picture in sorted(folder.iterdir())[_SHORT_FRAMES:]:
        picture.unlink()


_KINDS = {"truncated": _truncate, "empty": _empty, "label_too_long": _shorten}
