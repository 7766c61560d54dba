"""Phoenix-2014T: one S3D stream of frames, CTC; one GPU.

    python recipes/slr/phoenix2014t_s3d.py data.manifest_dir=data/p14t

Data: `slr prepare phoenix2014t RAW data/p14t --pack video`. Kinetics weights: weights_path=s3d.pth, torchvision's
file. Published (the RGB stream of TwoStream-SLR): 21.1 / 22.4 % on dev / test. Not measured here: the corpus needs
an agreement, and training a GPU.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.s3d import S3dConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class Phoenix2014tS3d(RecognitionRecipe):
    """Phoenix-2014T."""

    model: S3dConfig = field(default_factory=S3dConfig)


if __name__ == "__main__":
    main(Phoenix2014tS3d)
