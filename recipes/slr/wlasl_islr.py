"""WLASL, isolated signs: keypoint conformer, cosine classifiers; one GPU or a CPU.

    slr prepare wlasl RAW data/wlasl --poses extract
    python recipes/slr/wlasl_islr.py data.languages.ase=data/wlasl
    slr islr --model runs/wlasl_islr data/wlasl/test.jsonl.gz

A folder of `slr prepare` keeps the splits of its corpus. Other corpora go in as further languages of the same model,
isolated ones as folders (AUTSL is Turkish, ASL Citizen American too, under a name of its own), continuous ones as
tables of `slr align`; `slr map` then finds which of their signs look alike:

    python recipes/slr/wlasl_islr.py name=three data.languages.ase=data/wlasl data.languages.tsm=data/autsl \
        data.languages.asl_citizen=data/asl-citizen
    slr map data/autsl runs/three tsm-to-ase.tsv --target ase

Published on all 2,000 glosses (NLA-SLR, frames and keypoints): top-1 61.3 %. Compare only where the same clips were
left: many can't be fetched any more. Not measured here: the videos belong to others.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.isolated.recipe import IsolatedRecipe
from slr.models.keypoint_conformer import KeypointConformerConfig


@dataclass
class WlaslIslr(IsolatedRecipe):
    """WLASL, isolated signs from keypoints."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(WlaslIslr)
