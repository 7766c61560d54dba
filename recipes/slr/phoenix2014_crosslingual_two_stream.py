"""Phoenix-2014 with the cross-lingual signs of CSL-Daily: two S3D streams, CTC, wildcards; one GPU.

    slr map csl.parquet runs/phoenix2014_csl_daily_islr csl-to-dgs.tsv --target dgs --page review.html
    slr relabel data/csl/train.jsonl.gz csl-to-dgs.tsv data/csl-as-dgs --target data/p14/train.jsonl.gz
    python recipes/slr/phoenix2014_crosslingual_two_stream.py data.manifest_dir=data/p14 \
        auxiliary.corpora.csl=data/csl-as-dgs frames_run=runs/FRAMES keypoints_run=runs/KEYPOINTS

The tables come from recipes/slr/phoenix2014_csl_daily_islr.py, whose docstring has the stages before; the streams' runs
may themselves be mixed: any recipe of recognition takes `auxiliary.corpora.NAME=FOLDER`. Half of the batches
are auxiliary, fewer and fewer in the last fifth. Published (Wei and Chen, ICCV 2023), WER on dev / test: 15.7 / 16.7 %,
without CSL-Daily 18.4 / 18.8 %. The share and the weight of the auxiliary batches aren't known from the paper. Not
measured here: the corpora need agreements, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.two_stream import TwoStreamConfig
from slr.training.recipe import TwoStreamRecipe


@dataclass
class Phoenix2014CrosslingualTwoStream(TwoStreamRecipe):
    """Phoenix-2014 and relabelled CSL-Daily."""

    model: TwoStreamConfig = field(default_factory=TwoStreamConfig)


if __name__ == "__main__":
    main(Phoenix2014CrosslingualTwoStream)
