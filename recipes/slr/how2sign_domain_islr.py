"""Domain-aware I3D for How2Sign, as CiCo (CVPR 2023, §3.2) makes it: BSL's recogniser goes on with what it spotted.

    python tools/convert_i3d_signs.py bsl5k.pth.tar words.txt runs/bsl5k --language bsl
    slr spot runs/bsl5k data/how2sign/train.jsonl.gz spots.parquet
    python recipes/slr/how2sign_domain_islr.py data.languages.bsl=spots.parquet initial_run=runs/bsl5k
    slr features data/how2sign/train.jsonl.gz data/how2sign/val.jsonl.gz data/how2sign/test.jsonl.gz features/aware \
        --encoder isolated:runs/how2sign_domain_islr --window 16

Then data.streams.rgb.aware_dir=features/aware beside the features of bsl5k itself. CiCo's optimiser, batch and plain
draws are the settings of this recipe; paper_optimiser=false and the losses' defaults are ours. Not measured here: the
weights aren't at hand.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.isolated.domain import DomainRecipe
from slr.models.i3d_trunk import I3dConfig


@dataclass
class How2SignDomainIslr(DomainRecipe):
    """How2Sign, isolated signs from frames, on pseudo-labels."""

    model: I3dConfig = field(default_factory=I3dConfig)
    classifier: str = "linear"
    dropout: float = 0.5
    paper_optimiser: bool = True


if __name__ == "__main__":
    main(How2SignDomainIslr)
