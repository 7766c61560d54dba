"""MediaPipe's landmarks of a video, found by a child process in an environment of its own.

MediaPipe 0.10.21, the last release that carries its models, needs a protobuf older than other packages allow. So it
runs in another Python (slr.keypoints.mediapipe_worker), which gets pictures through a pipe and gives landmarks back.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.media.video import open_video

FloatArray = NDArray[np.float32]

PYTHON_VARIABLE = "SIGNWAVE_POSE_PYTHON"
_SCRIPT = Path(__file__).with_name("mediapipe_worker.py")
_START_SECONDS = 120.0
_FRAME_SECONDS = 60.0
_PIPE_BYTES = 1 << 16
_FACE = "FACE_LANDMARKS"
_HOW_TO = (
    "MediaPipe needs an environment of its own (its protobuf is older than this one's); make it with: "
    "python3.11 -m venv ~/pose-env && ~/pose-env/bin/pip install --no-deps mediapipe==0.10.21 && "
    "~/pose-env/bin/pip install absl-py attrs flatbuffers matplotlib numpy opencv-python-headless 'protobuf<5' && "
    f"export {PYTHON_VARIABLE}=~/pose-env/bin/python (or name it with --pose-python); "
    "pip's complaints about packages that mediapipe requires can be ignored"
)


class WorkerError(Exception):
    """The child ended or gives no answer; the message ends with what it wrote last."""


class Component(NamedTuple):
    """A component of the landmarks: which of all landmarks it keeps, their names, and its limbs between those kept."""

    name: str
    kept: tuple[int, ...]
    points: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]


class Landmarks(NamedTuple):
    """Landmarks of a whole video.

    points: (T, J, 4) float32, x and y in pixels, z as MediaPipe gives it, confidence; zeros where not found.
    fps: average rate of the video; frame i lies at i / fps.
    size_px: height and width of the pictures.
    """

    points: FloatArray
    fps: float
    size_px: tuple[int, int]


def find_python(pose_python: str | None = None) -> str:
    """The Python that runs MediaPipe: as named, else by $SIGNWAVE_POSE_PYTHON, else this one.

    Raises:
        UserError: it isn't there, or has no mediapipe with its holistic solution.
    """
    python = os.path.expanduser(pose_python or os.environ.get(PYTHON_VARIABLE) or sys.executable)
    check = "import mediapipe; mediapipe.solutions.holistic.Holistic"
    try:
        result = subprocess.run([python, "-I", "-c", check], capture_output=True, timeout=_START_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"the Python '{python}' can't be run ({error}); {_HOW_TO}") from error
    if result.returncode != 0:
        last = (result.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise UserError(f"the Python '{python}' has no MediaPipe that extracts keypoints ({last[:200]}); {_HOW_TO}")
    return python


@dataclass
class _Child:
    """A running child: its pipes and what it writes on stderr."""

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    log: IO[bytes]
    components: list[tuple[str, list[str], list[tuple[int, int]]]]


class LandmarkWorker:
    """One child process; it is started when it is needed, and again after it has ended."""

    def __init__(self, python: str, *, frame_seconds: float = _FRAME_SECONDS, script: Path = _SCRIPT) -> None:
        """A worker that isn't started yet.

        Args:
            python: what find_python found.
            frame_seconds: how long the child may take for one picture.
            script: what the child runs.
        """
        # -I: the script's folder must not come before the libraries of that Python.
        self._command = [python, "-I", str(script)]
        self._frame_seconds = frame_seconds
        self._child: _Child | None = None

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.process.kill()
            child.process.communicate()
            child.log.close()

    def landmarks(self, video: str | Path, *, picture_fps: float = 25.0) -> Landmarks:
        """Find the landmarks of every frame, at the video's average rate where its own one varies.

        Raises:
            MediaError: the video can't be decoded.
            WorkerError: the child crashed or hangs; the next call starts another one.
        """
        found: list[FloatArray] = []
        times: list[float] = []
        try:
            with open_video(video, fps=picture_fps) as source:
                size_px = (source.height_px, source.width_px)
                child = self._started()
                self._send(child, json.dumps({"height": size_px[0], "width": size_px[1]}).encode() + b"\n")
                for piece in source.iter_frames(num_frames=16):
                    for pixels, pts in zip(piece.pixels, piece.pts_seconds):
                        # The next picture is decoded while the child works on the last one.
                        found += [self._received(child)] if times else []
                        self._send(child, b"F" + np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes())
                        times.append(float(pts))
                found.append(self._received(child))
                self._send(child, b"E")
                fps = source.fps
        except BaseException:
            # The child stands in the middle of a clip.
            self.close()
            raise
        return Landmarks(np.stack(found)[steady(np.asarray(times), fps)], fps, size_px)

    def components(self, *, whole_face: bool) -> list[Component]:
        """What the landmarks are; the face either whole or only the points of its contours."""
        result, first = [], 0
        for name, points, limbs in self._started().components:
            contours = sorted({point for limb in limbs for point in limb})
            kept = contours if name == _FACE and not whole_face else list(range(len(points)))
            place = {index: i for i, index in enumerate(kept)}
            names = tuple(points[index] for index in kept)
            pairs = tuple((place[a], place[b]) for a, b in limbs)
            result.append(Component(name, tuple(first + index for index in kept), names, pairs))
            first += len(points)
        return result

    def _started(self) -> _Child:
        if self._child is not None and self._child.process.poll() is None:
            return self._child
        self.close()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
        if process.stdin is None or process.stdout is None:
            raise WorkerError("the child process has no pipes")
        self._child = child = _Child(process, process.stdin.fileno(), process.stdout.fileno(), log, [])
        os.set_blocking(child.stdin, False)  # it takes what the pipe holds; waiting is left to select
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(child, _PIPE_BYTES, _START_SECONDS)
        child.components = json.loads(line)["components"]
        return child

    def _send(self, child: _Child, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                if not select.select([], [child.stdin], [], self._frame_seconds)[1]:
                    raise _failure(child, f"takes no picture for {self._frame_seconds:g} s")
                view = view[os.write(child.stdin, view) :]
        except BrokenPipeError as error:
            raise _failure(child, "ended") from error

    def _received(self, child: _Child) -> FloatArray:
        size = 16 * sum(len(points) for _, points, _ in child.components)
        data = b""
        while len(data) < size:
            data += self._read(child, size - len(data), self._frame_seconds)
        return np.frombuffer(data, dtype="<f4").reshape(-1, 4).astype(np.float32)

    def _read(self, child: _Child, num_bytes: int, seconds: float) -> bytes:
        if not select.select([child.stdout], [], [], seconds)[0]:
            raise _failure(child, f"gives no answer for {seconds:g} s")
        data = os.read(child.stdout, num_bytes)
        if not data:
            raise _failure(child, "ended")
        return data


def _failure(child: _Child, how: str) -> WorkerError:
    child.log.seek(0)
    lines = child.log.read()[-4000:].decode(errors="replace").strip().splitlines()
    said = f" ({lines[-1][:200]})" if lines else ""
    return WorkerError(f"MediaPipe's process {how}{said}; leave the clip out, or try it alone")


def steady(times: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """(T,) int64, which frame is nearest to i / fps: frames of a varying rate at a steady one.

    times: (N,) float64 seconds, rising.
    """
    times = times - times[0]
    wanted = np.arange(max(1, round(float(times[-1]) * fps) + 1)) / fps
    after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after).astype(np.int64)
