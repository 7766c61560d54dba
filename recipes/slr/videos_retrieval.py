"""Anyone's own folder of sign clips and captions: texts in any of their languages find clips.

    slr prepare videos RAW data/mine
    slr features data/mine/all.jsonl.gz features/mine --encoder torchvision:s3d --weights s3d.pth --window 16
    python recipes/slr/videos_retrieval.py data.manifest_dir=data/mine data.streams.rgb.features_dir=features/mine

The table of the folder names each clip's text and language; further languages come with `slr captions add`. A table
with splits makes train, dev and test manifests: then set data.train_split=train data.held_out=0. Small sets train in
minutes on a CPU; fewer than some hundred sentences teach little but themselves.
"""

from dataclasses import dataclass

from signwave.recipe import main
from slr.retrieval.recipe import RetrievalRecipe


@dataclass
class VideosRetrieval(RetrievalRecipe):
    """One's own clips."""


if __name__ == "__main__":
    main(VideosRetrieval)
