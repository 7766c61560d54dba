"""Made-up signers: English, German and Persian sentences find clips of tools/make_sign_corpus.py --captions, on a CPU.

    python recipes/slr/signers_retrieval.py data.manifest_dir=data/signers data.streams.pose.features_dir=FEATURES

Its features are those of an isolated recogniser of keypoints: docs/sign_video_retrieval.md goes through all steps.
"""

from dataclasses import dataclass

from signwave.recipe import main
from slr.retrieval.recipe import RetrievalRecipe


@dataclass
class SignersRetrieval(RetrievalRecipe):
    """Made-up signers."""


if __name__ == "__main__":
    main(SignersRetrieval)
