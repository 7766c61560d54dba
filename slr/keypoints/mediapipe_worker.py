"""Run MediaPipe holistic in a Python of its own: pictures come in on stdin, landmarks go out on stdout.

Started by slr.keypoints.landmarks with an interpreter that has mediapipe; this toolkit need not be installed there, so
nothing but the standard library, numpy and mediapipe is imported.

Out, once: a line of JSON {"mediapipe": version, "components": [[name, [point, …], [[from, to], …]], …]}.
In, per clip: a line of JSON {"height": H, "width": W}, then for each picture the byte F and H · W · 3 bytes of RGB,
then the byte E. Out, per picture: little-endian float32 (J, 4): x and y in pixels, z as MediaPipe gives it, confidence.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np

FRAME, END = b"F", b"E"


def components(holistic: Any) -> list[tuple[str, list[str], list[tuple[int, int]]]]:
    """Name, points and limbs of each component, in the order of the landmarks; as pose-format names them."""
    pairs = {
        "body": sorted((int(a), int(b)) for a, b in holistic.POSE_CONNECTIONS),
        "hand": sorted((int(a), int(b)) for a, b in holistic.HAND_CONNECTIONS),
        "face": sorted((int(a), int(b)) for a, b in holistic.FACEMESH_CONTOURS),
    }
    body = [landmark.name for landmark in holistic.PoseLandmark]
    hand = [landmark.name for landmark in holistic.HandLandmark]
    return [
        ("POSE_LANDMARKS", body, pairs["body"]),
        ("FACE_LANDMARKS", [str(i) for i in range(468)], pairs["face"]),
        ("LEFT_HAND_LANDMARKS", hand, pairs["hand"]),
        ("RIGHT_HAND_LANDMARKS", hand, pairs["hand"]),
    ]


def landmarks(results: Any, width: int, height: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(J, 4) float32 of one picture, zeros for parts that aren't found; only the body has a confidence of its own."""
    parts = (
        (results.pose_landmarks, 33),
        (results.face_landmarks, 468),
        (results.left_hand_landmarks, 21),
        (results.right_hand_landmarks, 21),
    )
    out = np.zeros((sum(num for _, num in parts), 4), dtype="<f4")
    first = 0
    for found, num in parts:
        if found is not None:
            body = num == 33
            rows = [(p.x * width, p.y * height, p.z, p.visibility if body else 1.0) for p in found.landmark[:num]]
            out[first : first + num] = rows
        first += num
    return out


def read_exactly(stream: BinaryIO, num_bytes: int) -> bytes:
    """So many bytes; EOFError if the stream ends before."""
    data = stream.read(num_bytes)
    if len(data) != num_bytes:
        raise EOFError(f"the pictures ended after {len(data)} of {num_bytes} bytes")
    return data


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer until stdin ends."""
    mediapipe = importlib.import_module("mediapipe")
    holistic = mediapipe.solutions.holistic
    hello = {"mediapipe": mediapipe.__version__, "components": components(holistic)}
    stdout.write(json.dumps(hello).encode() + b"\n")
    stdout.flush()
    while line := stdin.readline():
        clip = json.loads(line)
        height, width = int(clip["height"]), int(clip["width"])
        # A new graph for each clip: what was tracked in the last one must not reach into this one.
        with holistic.Holistic(static_image_mode=False, model_complexity=1, refine_face_landmarks=False) as graph:
            while read_exactly(stdin, 1) == FRAME:
                picture = np.frombuffer(read_exactly(stdin, height * width * 3), dtype=np.uint8)
                results = graph.process(picture.reshape(height, width, 3))
                stdout.write(landmarks(results, width, height).tobytes())
                stdout.flush()


if __name__ == "__main__":
    # Whatever libraries print must not get between the landmarks.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
