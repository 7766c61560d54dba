"""CSL-Daily: two S3D streams, frames and keypoints, with lateral connections, CTC; one GPU.

    python recipes/slr/csl_daily_two_stream.py data.manifest_dir=data/csl

Data: `slr prepare csl-daily RAW data/csl --pack video --poses extract`. First train each stream alone, then give
both runs: frames_run=runs/FRAMES keypoints_run=runs/KEYPOINTS. Published (TwoStream-SLR): 25.4 / 25.3 % on dev /
test. Not measured here: the corpus needs an agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.two_stream import TwoStreamConfig
from slr.training.recipe import TwoStreamRecipe


@dataclass
class CslDailyTwoStream(TwoStreamRecipe):
    """CSL-Daily."""

    model: TwoStreamConfig = field(default_factory=TwoStreamConfig)


if __name__ == "__main__":
    main(CslDailyTwoStream)
