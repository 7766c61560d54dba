"""Domain-aware sign encoder of made-up signers: goes on with pseudo-labels, keypoint conformer, on a CPU.

slr spot runs/signers_islr data/others/train.jsonl.gz spots.parquet --report spots.png
python recipes/slr/signers_domain_islr.py data.languages.target=spots.parquet initial_run=runs/signers_islr

As CiCo (CVPR 2023) trains: paper_optimiser=true data.num_bags=4 data.num_instances=1 data.balance=natural data.tempo=1
losses.bag=0 losses.foreground=0 losses.label_smoothing=0 data.keypoint_augmentation.flip=0.5 train.gradient_clip=0

The probabilities of the new run are calibrated on pseudo-labels, of which hard signs are missing: they are too high.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.isolated.domain import DomainRecipe
from slr.models.keypoint_conformer import KeypointConformerConfig


@dataclass
class SignersDomainIslr(DomainRecipe):
    """Made-up signers, isolated signs from keypoints, on pseudo-labels."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(SignersDomainIslr)
