"""Isolated signs of made-up signers, keypoint conformer, cosine classifiers, on a CPU.

slr align runs/signers_keypoints data/signers/train.jsonl.gz signers.parquet
python recipes/slr/signers_islr.py data.languages.signers=signers.parquet
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.isolated.recipe import IsolatedRecipe
from slr.models.keypoint_conformer import KeypointConformerConfig


@dataclass
class SignersIslr(IsolatedRecipe):
    """Made-up signers, isolated signs from keypoints."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(SignersIslr)
