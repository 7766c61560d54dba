"""CSL-Daily: Chinese sentences find sign clips; a sentence is signed by up to four people, who are positives together.

    slr prepare csl-daily RAW data/csl
    slr features data/csl/{train,dev,test}.jsonl.gz features/csl --encoder i3d --weights bsl5k.pth.tar --window 16
    python recipes/slr/csl_daily_retrieval.py data.manifest_dir=data/csl data.streams.rgb.features_dir=features/csl

CiCo (CVPR 2023) reports R@1 75.3 / 74.7, on machine translations into English and chosen on the test set.
"""

from dataclasses import dataclass

from signwave.recipe import main
from slr.retrieval.recipe import RetrievalRecipe


@dataclass
class CslDailyRetrieval(RetrievalRecipe):
    """CSL-Daily sentences."""


if __name__ == "__main__":
    main(CslDailyRetrieval)
