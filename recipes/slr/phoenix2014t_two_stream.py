"""Phoenix-2014T: two S3D streams, frames and keypoints, with lateral connections, CTC; one GPU.

    python recipes/slr/phoenix2014t_two_stream.py data.manifest_dir=data/p14t

Data: `slr prepare phoenix2014t RAW data/p14t --pack video --poses extract`. First train each stream alone, then
give both runs: frames_run=runs/FRAMES keypoints_run=runs/KEYPOINTS. Published (TwoStream-SLR): 17.7 / 19.3 % on dev
/ test. Not measured here: the corpus needs an agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.two_stream import TwoStreamConfig
from slr.training.recipe import TwoStreamRecipe


@dataclass
class Phoenix2014tTwoStream(TwoStreamRecipe):
    """Phoenix-2014T."""

    model: TwoStreamConfig = field(default_factory=TwoStreamConfig)


if __name__ == "__main__":
    main(Phoenix2014tTwoStream)
