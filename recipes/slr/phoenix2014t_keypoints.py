"""Phoenix-2014T: keypoint conformer, CTC; one GPU or a CPU.

    python recipes/slr/phoenix2014t_keypoints.py data.manifest_dir=data/p14t

Data: `slr prepare phoenix2014t RAW data/p14t --poses extract`. Published for this class of models (MSKA): 20.1 /
20.5 %, (CoSign): 19.5 / 20.1 % on dev / test. Not measured here: the corpus needs an agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class Phoenix2014tKeypoints(RecognitionRecipe):
    """Phoenix-2014T."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(Phoenix2014tKeypoints)
