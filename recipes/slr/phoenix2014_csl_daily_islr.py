"""Isolated signs of Phoenix-2014 and CSL-Daily: two S3D streams, cosine classifiers of both languages; one GPU or more.

    slr align runs/phoenix2014_two_stream data/p14/train.jsonl.gz dgs.parquet --language dgs
    slr align runs/csl_daily_two_stream data/csl/train.jsonl.gz csl.parquet --language csl
    python recipes/slr/phoenix2014_csl_daily_islr.py data.languages.dgs=dgs.parquet data.languages.csl=csl.parquet \
        weights_path=s3d.pth
    slr map csl.parquet runs/phoenix2014_csl_daily_islr csl-to-dgs.tsv --target dgs --method posterior
    slr relabel data/csl/train.jsonl.gz csl-to-dgs.tsv data/csl-as-dgs --target data/p14/train.jsonl.gz
    python recipes/slr/phoenix2014_two_stream.py name=mixed data.manifest_dir=data/p14 \
        auxiliary.corpora.csl=data/csl-as-dgs frames_run=runs/FRAMES keypoints_run=runs/KEYPOINTS

Data: `slr prepare phoenix2014|csl-daily RAW OUT --pack video --poses extract`; weights_path is torchvision's Kinetics
file. The pair of Wei and Chen (ICCV 2023), with the settings of the isolated recogniser that the same group released
later (Zuo et al., EMNLP 2024): 4 bags of 6 windows on each of 8 GPUs, which 8 accumulated batches stand for here. What
differs: its connections between the streams see one frame, these seven. How often the paper's recogniser was right is
not known; what it was for is, WER of Phoenix-2014 dev / test: 15.7 / 16.7 % with the mapped signs of CSL-Daily, 18.4 /
18.8 % without. Not measured here: the corpora need agreements, and training several GPU-days.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.isolated.recipe import IsolatedRecipe
from slr.models.two_stream import TwoStreamConfig


@dataclass
class Phoenix2014CslDailyIslr(IsolatedRecipe):
    """Phoenix-2014 and CSL-Daily, isolated signs."""

    model: TwoStreamConfig = field(default_factory=TwoStreamConfig)


if __name__ == "__main__":
    main(Phoenix2014CslDailyIslr)
