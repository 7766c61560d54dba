"""Keep what the recogniser saw in each clip, for the report: POSTERIORS/CLIP.npz.

python tools/demo/posteriors.py RUN CLIPS POSTERIORS
"""

import sys
from pathlib import Path

import numpy as np
import torch

from signwave import ctc
from signwave.command import say
from signwave.errors import MediaError
from signwave.media.drawing import draw_pose
from signwave.media.poses import read_pose
from signwave.plots.posteriors import Posteriors
from slr.infer import Recognizer
from slr.keypoints.hands import read_clip

NUM_THUMBNAILS = 12


def look(recognizer: Recognizer, path: Path) -> Posteriors:
    """Posteriors of one clip with a row of drawn frames."""
    clip = read_clip(path, rate_hz=recognizer.rate_hz)
    inputs = torch.from_numpy(clip.hands).flatten(1)[None]
    with torch.inference_mode():
        encoded = recognizer.model(inputs, torch.tensor([len(clip.hands)]))
    num_steps = int(encoded.num_steps[0])
    stride_seconds = recognizer.model.stride / recognizer.rate_hz
    best = ctc.greedy(encoded.log_probs, encoded.num_steps)[0]
    drawn = list(draw_pose(read_pose(path, layout="hands"), size_px=(96, 96), fit=True))
    seconds = (np.arange(NUM_THUMBNAILS) + 0.5) / NUM_THUMBNAILS * num_steps * stride_seconds
    frames = [drawn[int((i + 0.5) / NUM_THUMBNAILS * len(drawn))].transpose(1, 2, 0) for i in range(NUM_THUMBNAILS)]
    return Posteriors(
        probabilities=encoded.log_probs[0, :num_steps].exp().numpy(),
        tokens=recognizer.vocabulary.tokens,
        stride_seconds=stride_seconds,
        span_tokens=tuple(recognizer.vocabulary.tokens[token] for token in best.tokens),
        spans=np.array(best.steps, dtype=np.float64).reshape(-1, 2) * stride_seconds,
        reference=" ".join(path.stem.split("-")[1].upper()),
        thumbnails=np.stack(frames),
        thumbnail_seconds=seconds,
    )


def main(run: str, clips: Path, out: Path) -> int:
    """Every clip that can be read."""
    recognizer = Recognizer.load(run, device="cpu")
    for path in sorted(clips.glob("*.pose")):
        try:
            look(recognizer, path).save(out / f"{path.stem}.npz")
        except MediaError as error:
            say(f"left out: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
