"""Phoenix-2014T with the cross-lingual signs of CSL-Daily: keypoint conformer, CTC, wildcards; one GPU or a few cores.

    slr map csl.parquet runs/phoenix2014t_csl_daily_keypoints_islr csl-to-dgs.tsv --target dgs --page review.html
    slr relabel data/csl/train.jsonl.gz csl-to-dgs.tsv data/csl-as-dgs --target data/p14t/train.jsonl.gz
    python recipes/slr/phoenix2014t_crosslingual_keypoints.py data.manifest_dir=data/p14t \
        auxiliary.corpora.csl=data/csl-as-dgs

The cheap pipeline from end to end: recipes/slr/phoenix2014t_csl_daily_keypoints_islr.py has the stages before. Beside
it belong its controls, see recipes/slr/crosslingual_study.py. Published with two S3D streams (Wei and Chen, ICCV 2023),
WER on dev / test: 16.9 / 18.5 %, without CSL-Daily 17.7 / 19.3 %. Not measured here: the corpora need agreements.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class Phoenix2014TCrosslingualKeypoints(RecognitionRecipe):
    """Phoenix-2014T and relabelled CSL-Daily."""

    model: KeypointConformerConfig = field(default_factory=KeypointConformerConfig)


if __name__ == "__main__":
    main(Phoenix2014TCrosslingualKeypoints)
