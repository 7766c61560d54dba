"""Isharah: keypoint conformer, CTC; one GPU or a CPU.

    python recipes/slr/isharah_keypoints.py data.manifest_dir=data/isharah

Data: `slr prepare isharah RAW data/isharah`. Published (AutoSign): 20.5 % on the test split of unseen signers;
unseen sentences are far harder (Swin-MSTP: 47.8 %). Not measured here: the poses aren't part of what may be passed
on.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class IsharahKeypoints(RecognitionRecipe):
    """Isharah."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(IsharahKeypoints)
