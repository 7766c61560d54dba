"""PHOENIX-2014T: German weather sentences find sign clips, CiCo's towers on window features.

    slr prepare phoenix2014t RAW data/p14t
    slr features data/p14t/{train,dev,test}.jsonl.gz features/p14t --encoder i3d --weights bsl5k.pth.tar --window 16
    python recipes/slr/phoenix2014t_retrieval.py data.manifest_dir=data/p14t data.streams.rgb.features_dir=features/p14t

Captions are German. With translations (`slr captions add`) all languages of a sentence are positives together;
data.languages=[en] trains on the translation alone, as CiCo does. 33 of the 642 test sentences stand word for word in
training, which `slr evaluate` counts apart. CiCo (CVPR 2023) reports R@1 69.5 / 70.2, chosen on the test set.
"""

from dataclasses import dataclass

from signwave.recipe import main
from slr.retrieval.recipe import RetrievalRecipe


@dataclass
class Phoenix2014tRetrieval(RetrievalRecipe):
    """PHOENIX-2014T sentences."""


if __name__ == "__main__":
    main(Phoenix2014tRetrieval)
