"""How2Sign: English sentences find clips of American Sign Language.

    slr prepare how2sign RAW data/h2s
    slr features data/h2s/{train,val,test}.jsonl.gz features/h2s --encoder i3d --weights bsl5k.pth.tar --window 16
    python recipes/slr/how2sign_retrieval.py data.manifest_dir=data/h2s data.streams.rgb.features_dir=features/h2s

With CLIP's weights in a local folder add signs.clip_dir=CLIP texts.kind=transformer texts.dir=CLIP dim=512. CiCo
(CVPR 2023) reports R@1 56.6 / 51.6 on 2,348 clips in 1,969 groups, chosen on the test set; every paper has a slightly
different set of clips, so `slr evaluate` prints the counts.
"""

from dataclasses import dataclass

from signwave.recipe import main
from slr.retrieval.recipe import RetrievalRecipe


@dataclass
class How2signRetrieval(RetrievalRecipe):
    """How2Sign sentences."""


if __name__ == "__main__":
    main(How2signRetrieval)
