"""Made-up signers (tools/make_sign_corpus.py), keypoint conformer with CTC, on a CPU.

python tools/make_sign_corpus.py raw/signers
slr prepare phoenix2014 raw/signers data/signers --poses raw/signers/phoenix-2014-multisigner/poses
python recipes/slr/signers_keypoints.py data.manifest_dir=data/signers
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class SignersKeypoints(RecognitionRecipe):
    """Made-up signers, keypoints."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(SignersKeypoints)
