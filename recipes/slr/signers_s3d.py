"""Made-up signers (tools/make_sign_corpus.py): narrow S3D of frames, CTC, on a CPU.

    python recipes/slr/signers_s3d.py data.manifest_dir=data/signers

Data: `python tools/make_sign_corpus.py raw/signers`, then `slr prepare phoenix2014 raw/signers data/signers --pack
video --size 80x64`.
"""

from dataclasses import dataclass, field

from signwave.recipe import main
from slr.models.s3d import S3dConfig
from slr.training.recipe import RecognitionRecipe


@dataclass
class SignersS3d(RecognitionRecipe):
    """Made-up signers (tools/make_sign_corpus.py)."""

    model: S3dConfig = field(default_factory=S3dConfig)


if __name__ == "__main__":
    main(SignersS3d)
