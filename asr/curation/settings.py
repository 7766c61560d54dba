"""What is measured, and the thresholds that are applied to it afterwards: typed, and plain values in every file."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

VoiceKind = Literal["auto", "silero", "energy"]


@dataclass(frozen=True)
class MeasureSettings:
    """How recordings are cut and scored. Another value means measuring again, so it is kept beside the scores."""

    voice: VoiceKind = "auto"
    """Voice detector: silero (the extra `curation`), energy above the noise floor, or auto: silero if it is there."""
    voice_threshold: float = 0.5
    """Probability from which a frame starts speech; speech ends 0.15 below it."""
    min_speech_seconds: float = 0.25
    min_silence_seconds: float = 0.1
    pause_seconds: float = 1.5
    """Speech on both sides of a pause this long never shares a segment."""
    min_seconds: float = 2.0
    """A segment is not cut into pieces shorter than this."""
    max_seconds: float = 30.0
    pad_seconds: float = 0.1
    """Kept on either side of the speech, as far as the pause reaches."""
    language_id: str = ""
    """`module:function` of a language identifier, or empty."""
    sound_kind: str = ""
    """`module:function` of a detector of music and overlapping voices, or empty."""

    def __post_init__(self) -> None:
        """Refuse what can't be cut by."""
        if not 0 < self.min_seconds <= self.max_seconds / 2:
            raise ValueError(
                f"min_seconds must be above 0 and at most half of max_seconds {self.max_seconds:g}, "
                f"got {self.min_seconds:g}"
            )
        if not 0 < self.voice_threshold < 1 or self.pause_seconds < self.min_silence_seconds or self.pad_seconds < 0:
            raise ValueError(
                "need 0 < voice_threshold < 1, pause_seconds >= min_silence_seconds and pad_seconds >= 0, got "
                f"{self.voice_threshold:g}, {self.pause_seconds:g}, {self.min_silence_seconds:g}, {self.pad_seconds:g}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, stored beside the scores."""
        return asdict(self)


@dataclass(frozen=True)
class Thresholds:
    """What a segment must reach to be kept; a score that was not measured (no hook) refuses nothing."""

    min_seconds: float = 2.0
    min_level_dbfs: float = -50.0
    max_clipped_share: float = 0.001
    min_crest_db: float = 6.0
    min_bandwidth_hz: float = 3400.0
    min_snr_db: float = 10.0
    min_speech_share: float = 0.6
    min_language: float = 0.7
    """Posterior of the wanted language."""
    min_language_margin: float = 0.1
    """Between the wanted language and the best other one."""
    max_music: float = 0.5
    max_overlap: float = 0.5
    duplicate_score: float = 0.8
    """Score from which two stretches of sound are copies; docs/similar_audio.md has the measurement."""
    duplicate_share: float = 0.5
    """Share of a segment that must lie in a copy for the segment to be one; for dev and test: of the shorter one."""
    min_closeness: float = -1.0
    """Mean cosine to the reference of `--near`."""
    max_hours: float = 0.0
    """Keep so much in all, closest first (or an even sample); 0 = everything."""
    max_hours_per_source: float = 0.0
    """Keep at most so much of one source; 0 = everything. A source is the first folder below RAW, or a file in RAW."""


@dataclass(frozen=True)
class CollectSettings:
    """Everything that `asr collect` takes as `key=value`: `measure.…` and `keep.…`."""

    measure: MeasureSettings = field(default_factory=MeasureSettings)
    keep: Thresholds = field(default_factory=Thresholds)
