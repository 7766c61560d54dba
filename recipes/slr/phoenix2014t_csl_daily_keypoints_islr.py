"""Isolated signs of Phoenix-2014T and CSL-Daily: keypoint conformer, cosine classifiers; one GPU or a CPU.

    python recipes/slr/phoenix2014t_keypoints.py name=dgs data.manifest_dir=data/p14t
    python recipes/slr/phoenix2014t_keypoints.py name=csl data.manifest_dir=data/csl
    slr align runs/dgs data/p14t/train.jsonl.gz dgs.parquet --language dgs
    slr align runs/csl data/csl/train.jsonl.gz csl.parquet --language csl
    python recipes/slr/phoenix2014t_csl_daily_keypoints_islr.py data.languages.dgs=dgs.parquet \
        data.languages.csl=csl.parquet
    slr map csl.parquet runs/phoenix2014t_csl_daily_keypoints_islr csl-to-dgs.tsv --target dgs --method posterior
    slr relabel data/csl/train.jsonl.gz csl-to-dgs.tsv data/csl-as-dgs --target data/p14t/train.jsonl.gz
    python recipes/slr/phoenix2014t_keypoints.py name=mixed data.manifest_dir=data/p14t \
        auxiliary.corpora.csl=data/csl-as-dgs

Data: `slr prepare phoenix2014t|csl-daily RAW OUT --poses extract`. The cheap way to a mapping: no frame is decoded.
Published for cross-lingual signs with two S3D streams (Wei and Chen, ICCV 2023), WER of Phoenix-2014T dev / test: 16.9
/ 18.5 % with the mapped signs, 17.7 / 19.3 % without; nothing is published for keypoints alone, nor for the isolated
recogniser. Don't measure on Phoenix-2014 what was trained on this dictionary: its dev and test are among these clips.
Not measured here: the corpora need agreements.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.isolated.recipe import IsolatedRecipe
from slr.models.keypoint_conformer import KeypointConformerConfig


@dataclass
class Phoenix2014tCslDailyKeypointsIslr(IsolatedRecipe):
    """Phoenix-2014T and CSL-Daily, isolated signs from keypoints."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(Phoenix2014tCslDailyKeypointsIslr)
