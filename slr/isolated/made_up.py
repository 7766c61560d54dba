"""Signs that are drawn in memory, for --smoke: the moving squares of slr.datasets.moving_squares, one gloss a clip."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from signwave.manifest import Clip
from slr.datasets.moving_squares import draw
from slr.isolated.recipe import DictionariesConfig

if TYPE_CHECKING:
    from slr.crosslingual.signs import Splits
    from slr.isolated.bags import Windows
    from slr.reading import Needs, Reading

_CLIP_FRAMES = 12


@dataclass
class MovingSigns(DictionariesConfig):
    """Two languages of four signs; large enough for heat maps of half the size to pass five blocks of S3D."""

    height_px: int = 64
    width_px: int = 64
    num_bags: int = 2
    num_instances: int = 2
    evaluation_instances: int = 1
    dev_share: float = 0.2
    test_share: float = 0.2

    def load(self) -> "list[Splits]":
        """Twelve frames a sign."""
        from slr.crosslingual.signs import Sign, Signs, Splits

        found = []
        for language in ("first", "second"):
            texts = [f"G{1 + number % 4}" for number in range(24)]
            clips = [
                Clip(
                    id=f"{language}-{number}", path="x", kind="video", num_frames=_CLIP_FRAMES, rate_hz=25.0, text=text
                )
                for number, text in enumerate(texts)
            ]
            found.append(Splits(Signs(language, [Sign(clip, clip.text) for clip in clips], "0" * 64, "made up")))
        return found

    def windows(self, needs: "Needs") -> "Windows":
        """What draws the signs."""
        from slr.isolated.bags import Windows

        def read(clip: Clip, start_seconds: float, end_seconds: float | None) -> "Reading":
            whole = draw(clip, reads=needs.reads, size_px=needs.size_px, feature_dim=2)
            rate_hz = needs.rate_hz or 25.0
            last = len(whole.inputs) if end_seconds is None else round(end_seconds * rate_hz)
            part = slice(round(start_seconds * rate_hz), last)
            return whole._replace(
                inputs=whole.inputs[part], points=None if whole.points is None else whole.points[part]
            )

        return Windows(needs, window_frames=self.window_frames, read_clip=read)
