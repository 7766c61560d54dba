"""What recognising signs adds to `signwave.transcription`: which files a model reads, and where a pause is one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from signwave.errors import ArtefactError
from signwave.transcription import Medium

PAUSE_SECONDS = 1.0
"""Without a sign for this long, a segment and a subtitle end: signing has longer rests in it than speech."""

POSE_SUFFIXES = frozenset({".pose"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".y4m"})
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


class Kind(NamedTuple):
    """A kind of model: the class that a bundle rebuilds, imported when it is needed, and what it reads."""

    module: str
    name: str
    reads: str


KINDS = {
    "slr.pose_conv": Kind("slr.models.pose_conv", "PoseConv", "hands"),
    "slr.keypoint_conformer": Kind("slr.models.keypoint_conformer", "KeypointConformer", "keypoints"),
    "slr.resnet_bilstm": Kind("slr.models.resnet_bilstm", "ResnetBilstm", "frames"),
    "slr.s3d": Kind("slr.models.s3d", "S3d", "frames"),
    "slr.two_stream": Kind("slr.models.two_stream", "TwoStream", "frames+keypoints"),
    "slr.feature_head": Kind("slr.models.feature_head", "FeatureHead", "features"),
}

TRUNKS = {**KINDS, "slr.i3d_trunk": Kind("slr.models.i3d_trunk", "I3dTrunk", "frames")}
"""What a recogniser of single signs may look through: recognisers, and networks that recognise no sentences."""

ISOLATED_KIND = "slr.isolated"
"""Not among them: its models name single signs, see slr.isolated."""


def medium_of(model: Path) -> Medium:
    """What a model of a run or bundle folder recognises: clips of poses, videos, or videos with poses beside them.

    Raises:
        ArtefactError: there is no bundle.
    """
    reads = _reads(model)
    if "frames" in reads or reads == "features":
        return Medium(
            suffixes=VIDEO_SUFFIXES,
            noun="video and no folder of pictures",
            verb="recognising",
            cue_pause_seconds=PAUSE_SECONDS,
            picture_suffixes=PICTURE_SUFFIXES,
        )
    return Medium(
        suffixes=POSE_SUFFIXES | VIDEO_SUFFIXES,
        noun=".pose file and no video",
        verb="recognising",
        cue_pause_seconds=PAUSE_SECONDS,
        beside=".pose",
    )


def _reads(model: Path) -> str:
    """What the bundle says, without opening its weights; a kind that nobody knows is left to the loading."""
    from signwave import bundle
    from signwave.rundir import read_json

    folder = bundle.find(model)
    content = read_json(folder / "bundle.json")
    info = content.get("info") if isinstance(content, dict) else None
    if not isinstance(info, dict):
        raise ArtefactError(f"{folder / 'bundle.json'}: not a model folder's index; export the model again")
    config, kind = content.get("config"), KINDS.get(str(content.get("kind")))
    if isinstance(config, dict) and config.get("encoder"):
        return "frames"  # a head on features that brings its encoder
    return str(info.get("reads") or (kind.reads if kind else "hands"))
