"""What looks at windows: backbones of videos or of single pictures, and trunks of recognisers of isolated signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from signwave import bundle
from signwave.errors import ArtefactError, ConfigError
from slr.features.encoders import EncoderSpec, FrameEncoder
from slr.features.window_encoders import WindowEncoder
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND

_PICTURES_A_WINDOW = 4  # a pass of single pictures holds so many for each window that one of videos would hold
_CLASSIFIERS = "classifiers."


class FrameWindows(WindowEncoder):
    """Windows of frames through a backbone of videos, or of pictures, whose vectors are averaged over the window.

    Args:
        encoder: the backbone.
        window_frames: frames of a window; of a backbone of videos those of its spec.
    """

    def __init__(self, encoder: FrameEncoder, *, window_frames: int) -> None:
        super().__init__()
        if encoder.spec.is_video and encoder.spec.window_frames != window_frames:
            raise ValueError(
                f"'{encoder.spec.name}' takes windows of {encoder.spec.window_frames}, not {window_frames}"
            )
        self.encoder, self.window_frames, self.dim = encoder, window_frames, encoder.dim
        self.reads, self.size_px = "frames", encoder.spec.size_px
        self.requires_grad_(False)
        self.eval()

    @property
    def spec(self) -> dict[str, Any]:
        """Plain values from which `build_window_encoder` builds it again, without its weights."""
        inner = self.encoder.spec
        facts = {"kind": "frames", "name": inner.name, "dim": self.dim, "window_frames": self.window_frames}
        return {**facts, "encoder": inner.to_dict()}

    def _encode(self, windows: Tensor, points: Tensor | None) -> Tensor:
        if self.encoder.spec.is_video:
            return self.encoder.encode(windows)
        places = torch.arange(windows.shape[:2].numel(), device=windows.device).reshape(windows.shape[:2])
        return _means(self.encoder.encode(windows.flatten(0, 1)[:, None]), places)

    def _encode_rows(self, inputs: Tensor, points: Tensor | None, rows: Tensor) -> Tensor:
        if self.encoder.spec.is_video:
            return super()._encode_rows(inputs, points, rows)
        # Each picture once, however many windows show it.
        places = torch.arange(len(inputs), device=inputs.device)
        pictures = self.in_batches(
            places, lambda part: self.encoder.encode(inputs[part][:, None]), factor=_PICTURES_A_WINDOW
        )
        return _means(pictures, rows)


class IsolatedWindows(WindowEncoder):
    """What a recogniser of isolated signs sees in a window: unit vectors, see `IsolatedSigns.embed`.

    Args:
        config: settings of `IsolatedSigns`; its classifiers aren't built.
        window_frames: of its training.
        rate_hz: of its training.
        size_px: (height, width) of the frames, where it reads any.
        name: for people.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        window_frames: int,
        rate_hz: float,
        size_px: tuple[int, int] | None,
        name: str,
    ) -> None:
        super().__init__()
        self.config = {**config, "num_classes": {}}
        self.model = IsolatedSigns(**self.config)
        self.reads, self.window_frames = self.model.reads, window_frames
        self.rate_hz, self.size_px, self.name = rate_hz, size_px, name
        trunk: Any = self.model.trunk
        self.dim = sum(trunk.feature_dims.values())
        self.requires_grad_(False)
        self.eval()

    @property
    def spec(self) -> dict[str, Any]:
        """Plain values from which `build_window_encoder` builds it again, without its weights."""
        return {
            "kind": "isolated", "name": self.name, "dim": self.dim, "window_frames": self.window_frames,
            "rate_hz": self.rate_hz, "size_px": None if self.size_px is None else list(self.size_px),
            "config": self.config,
        }  # fmt: skip

    def _encode(self, windows: Tensor, points: Tensor | None) -> Tensor:
        num_frames = torch.full((len(windows),), windows.shape[1], dtype=torch.int64, device=windows.device)
        return self.model.embed(self.model(windows, num_frames, points=points).whole)


def load_isolated(run: str) -> IsolatedWindows:
    """The trunk of a run or bundle folder of a recipe *_islr.

    Raises:
        ConfigError: it holds another kind of model.
        ArtefactError: it can't be used.
    """
    stored = bundle.load(run)
    if stored.kind != ISOLATED_KIND:
        raise ConfigError(
            f"isolated:{run}: a model of kind '{stored.kind}', not '{ISOLATED_KIND}'; name a run of a recipe *_islr"
        )
    facts = {"name": ISOLATED_KIND, "size_px": None, **stored.info}
    kept = {name: value for name, value in stored.state_dict().items() if not name.startswith(_CLASSIFIERS)}
    try:
        encoder = build_isolated({**facts, "config": stored.config})
        encoder.model.load_state_dict(kept)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{stored.folder}: can't be used ({reason}); export the model again") from error
    return encoder


def build_isolated(spec: Mapping[str, Any]) -> IsolatedWindows:
    """From its spec."""
    size = spec["size_px"]
    return IsolatedWindows(
        spec["config"],
        window_frames=int(spec["window_frames"]),
        rate_hz=float(spec["rate_hz"]),
        size_px=None if size is None else (int(size[0]), int(size[1])),
        name=str(spec["name"]),
    )


def build_frames(spec: Mapping[str, Any]) -> FrameWindows:
    """From its spec."""
    frames = FrameEncoder(EncoderSpec.from_dict(dict(spec["encoder"])))
    return FrameWindows(frames, window_frames=int(spec["window_frames"]))


KINDS: dict[str, Callable[[Mapping[str, Any]], WindowEncoder]] = {"frames": build_frames, "isolated": build_isolated}


def _means(vectors: Tensor, rows: Tensor) -> Tensor:
    """(M, D) float32, means of rows. vectors: (F, D) float; rows: (M, W) int64.

    Added one after the other: a sum over a dimension may be taken in another order for another M.
    """
    total = vectors[rows[:, 0]].float()
    for place in range(1, rows.shape[1]):
        total = total + vectors[rows[:, place]]
    return total / rows.shape[1]
