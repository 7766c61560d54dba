"""What clips of joined letters have in common: how fast people spell, and how signer's units lie in a picture."""

from __future__ import annotations

import numpy as np

from slr.keypoints.hand_transforms import PARENTS, FloatArray
from slr.keypoints.layout import HAND_NAMES

LETTER_SECONDS = (0.32, 0.64)
"""Single letters were shown for a second or more; people who spell words are two to five times as fast."""
CUT = (0.08, 0.25)
"""Share of a recording left out at each end, where the hand still comes up or goes down already."""
PICTURE_PX = 500
"""Height and width of a picture."""
HAND_COMPONENTS = {"LEFT_HAND_LANDMARKS": HAND_NAMES, "RIGHT_HAND_LANDMARKS": HAND_NAMES}
HAND_LIMBS = dict.fromkeys(HAND_COMPONENTS, tuple((point, parent) for point, parent in enumerate(PARENTS) if point))
_UNIT_PX, _CENTRE_PX = 110.0, (250.0, 220.0)


def in_picture(points: FloatArray) -> FloatArray:
    """(T, J, 3) float32, pixels of a picture of PICTURE_PX. points: (T, J, 3) float32, signer's units."""
    found = points * np.float32(_UNIT_PX)
    found[..., :2] += np.asarray(_CENTRE_PX, dtype=np.float32)
    return np.asarray(found)
