"""How a clip reaches the sign tower in use: hands of a pose file, windows of a video, or cached features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from signwave.errors import ArtefactError, MediaError, UserError
from signwave.manifest import Clip
from slr.features.windows import even
from slr.keypoints.hands import read_clip
from slr.models.dual_encoder import PoseTower
from slr.models.video_tower import WindowTower
from slr.reading import Needs, Reading, find_poses, read
from slr.retrieval.stored import StoredModel
from slr.retrieval.streams import StreamConfig, Streams, fuse_parts, join_streams

if TYPE_CHECKING:
    from slr.features.window_encoders import WindowEncoder
    from slr.features.windows import SlidingWindows

FloatArray = NDArray[np.float32]
Times = list[tuple[float, float]]


class ReadClip(NamedTuple):
    """A clip as the sign tower reads it.

    inputs: (T, F) float32.
    times: (start_seconds, end_seconds) of each token in the file.
    end_seconds: where the clip ends in the file.
    """

    inputs: FloatArray
    times: Times
    end_seconds: float


class ClipInput(Protocol):
    """Reads clips for a model."""

    def read(self, clip: Clip) -> ReadClip:
        """The clip.

        Raises:
            UserError: it can't be used; a MediaError names the file.
        """


class HandInput:
    """Hands of `.pose` files, for a `PoseTower`.

    Args:
        tower: says which frames its tokens stand for.
        rate_hz: frames a second of the model.
    """

    def __init__(self, tower: PoseTower, *, rate_hz: float) -> None:
        self.tower, self.rate_hz = tower, rate_hz

    def read(self, clip: Clip) -> ReadClip:
        """The clip, from its `.pose` file or the one beside its video."""
        poses = find_poses(clip.path, clip.poses_path)
        if poses is None:
            raise MediaError(
                clip.path,
                "is a video without keypoints, and this model reads poses; extract them first "
                "(`slr prepare videos FOLDER OUT --poses`)",
                kind="refused",
            )
        start = clip.start_seconds
        found = read_clip(poses, rate_hz=self.rate_hz, start_seconds=start, end_seconds=clip.end_seconds)
        spans = self.tower.token_frames(len(found.hands))
        times = [(start + a / self.rate_hz, start + b / self.rate_hz) for a, b in spans]
        return ReadClip(found.hands.reshape(len(found.hands), -1), times, start + found.duration_seconds)


class WindowInput:
    """Windows of videos or poses, for a `WindowTower`, by the encoders of its bundle.

    A stream whose file a clip lacks (no keypoints, or a pose file without its video) is left out, as long as another
    one is there.

    Args:
        model: with the encoders of its streams.
        device: of the encoders.

    Raises:
        ArtefactError: the bundle holds no encoders, or lacks the facts about its streams.
    """

    def __init__(self, model: StoredModel, *, device: str) -> None:
        self.streams = stream_facts(model)
        num_encoders = sum(len(stream.digests) for stream in self.streams)
        if len(model.encoders) != num_encoders:
            raise ArtefactError(
                f"this model holds {len(model.encoders)} of the {num_encoders} encoders of its windows, so it can't "
                "read clips; give cached features (--features), or train with encoders=[…]"
            )
        tower: Any = model.dual.signs
        self.max_tokens: int = tower.max_tokens
        self.device = device
        places = iter(model.encoders)
        self.encoders = [[next(places) for _ in stream.digests] for stream in self.streams]
        for encoder in model.encoders:
            encoder.to(device)

    def read(self, clip: Clip) -> ReadClip:
        """The clip: its files are read once, and only the chosen windows are encoded."""
        found: list[FloatArray | None] = []
        first: tuple[StreamFacts, int] | None = None
        problems = []
        readings: dict[Needs, Reading] = {}
        for stream, encoders in zip(self.streams, self.encoders, strict=True):
            try:
                features, num_frames = self._stream(clip, stream, encoders, readings)
            except MediaError as error:
                if error.kind != "refused":
                    raise
                problems.append(error)
                found.append(None)
                continue
            found.append(features)
            first = first or (stream, num_frames)
        if first is None:
            raise problems[0]
        inputs = join_streams(found, [s.dim for s in self.streams], max_tokens=self.max_tokens, clip_id=clip.id)
        return _timed(clip, inputs, *first)

    def _stream(
        self, clip: Clip, stream: StreamFacts, encoders: Sequence[WindowEncoder], readings: dict[Needs, Reading]
    ) -> tuple[FloatArray, int]:
        """Features of a stream and the frames they are of; what was read for one encoder serves those that want it."""
        parts, num_frames = [], 0
        for encoder in encoders:
            needs = Needs(encoder.reads, stream.rate_hz, encoder.size_px if "frames" in encoder.reads else None)
            if needs not in readings:
                span: dict[str, Any] = {"start_seconds": clip.start_seconds, "end_seconds": clip.end_seconds}
                readings[needs] = read(clip.path, needs, poses_path=clip.poses_path, **span)
            found = readings[needs]
            num_frames = len(found.inputs)
            inputs = torch.from_numpy(found.inputs).to(self.device)
            points = None if found.points is None else torch.from_numpy(found.points).to(self.device)
            # Caches hold half precision, so what the tower learned from is rounded like that.
            features = encoder.encode_clip(inputs, stream.windows, points=points).half().float().cpu().numpy()
            parts.append(np.asarray(features, dtype=np.float32))
        return stream.fused(parts), num_frames


class CachedInput:
    """Features that `slr features` made, for a `WindowTower`.

    Args:
        model: whose streams the caches must be of.
        streams: open caches, as in training.

    Raises:
        ArtefactError: a cache was made by another encoder than the model's.
    """

    def __init__(self, model: StoredModel, streams: Streams) -> None:
        self.facts, self.streams = stream_facts(model), streams
        wanted = [stream.digests for stream in self.facts]
        given = [tuple(cache.header.encoder_digest for cache in stream.caches) for stream in streams.streams]
        if wanted != given:
            raise ArtefactError(
                "the features were made by other encoders, or of other streams, than those this model was trained on; "
                "give the same caches, in the same order"
            )

    def read(self, clip: Clip) -> ReadClip:
        """The clip."""
        if not self.streams.has(clip):
            raise MediaError(clip.path, f"'{clip.id}' isn't among the features: {self.streams.problem(clip)}")
        inputs = self.streams.read(clip)
        for facts, stream in zip(self.facts, self.streams.streams, strict=True):
            if clip.id in stream.caches[0]:
                return _timed(clip, inputs, facts, stream.caches[0].num_frames(clip))
        raise MediaError(clip.path, f"'{clip.id}' isn't among the features")


class StreamFacts(NamedTuple):
    """What a bundle says of one stream, see `Streams.info`.

    digests: of the encoders that made its features, one or two.
    """

    name: str
    dim: int
    alpha: float
    fusion: str
    rate_hz: float
    digests: tuple[str, ...]
    windows: SlidingWindows

    def fused(self, parts: Sequence[FloatArray]) -> FloatArray:
        """(M, dim) float32 of the features of each encoder."""
        return fuse_parts(parts, alpha=self.alpha, fusion=self.fusion)


def stream_facts(model: StoredModel) -> list[StreamFacts]:
    """What a bundle says of its streams.

    Raises:
        ArtefactError: nothing that can be used.
    """
    from slr.features.windows import SlidingWindows

    try:
        return [
            StreamFacts(
                row["name"], row["dim"], row["alpha"], row["fusion"], row["rate_hz"],
                tuple(row["encoder_digests"]), SlidingWindows(**row["windows"]),
            )
            for row in model.info["streams"]
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"the model doesn't say what its streams are ({error}); export it again") from error


def clip_input(model: StoredModel, *, device: str, features: Sequence[str] = ()) -> ClipInput:
    """What reads clips for a model.

    Args:
        model: hands or windows.
        device: of its encoders.
        features: "STREAM=FOLDER" or "STREAM=FOLDER,AWARE_FOLDER" of cached features; () reads the clips themselves.
    """
    signs = model.dual.signs
    if isinstance(signs, PoseTower):
        if features:
            raise UserError("this model reads the hands of pose files, not features; leave --features out")
        if "rate_hz" not in model.info:
            raise ArtefactError("the model doesn't say its rate_hz; export it again")
        return HandInput(signs, rate_hz=float(model.info["rate_hz"]))
    if not isinstance(signs, WindowTower):
        raise ArtefactError(f"its sign tower is a {type(signs).__name__}; this version can't index with it")
    if features:
        return CachedInput(model, Streams.open(_stream_configs(model, features), max_tokens=signs.max_tokens))
    return WindowInput(model, device=device)


def _stream_configs(model: StoredModel, features: Sequence[str]) -> dict[str, StreamConfig]:
    """The caches of each stream of a model, in its order."""
    given = dict(text.split("=", maxsplit=1) for text in features if "=" in text)
    names = [stream.name for stream in stream_facts(model)]
    if len(given) != len(features) or sorted(given) != sorted(names):
        raise UserError(
            f"--features {' '.join(features)}: this model reads the streams {', '.join(names)}; give each NAME=FOLDER"
        )
    found = {}
    for stream in stream_facts(model):
        first, _, second = given[stream.name].partition(",")
        found[stream.name] = StreamConfig(first, second, stream.alpha, stream.fusion)
    return found


def _timed(clip: Clip, inputs: FloatArray, stream: StreamFacts, num_frames: int) -> ReadClip:
    """The times of the windows that were chosen of one stream; others may have a window less at the end."""
    times = stream.windows.spans(num_frames, rate_hz=stream.rate_hz, offset_seconds=clip.start_seconds)
    chosen = even(len(times), len(inputs)).tolist()
    return ReadClip(inputs, [times[i] for i in chosen], clip.start_seconds + num_frames / stream.rate_hz)
