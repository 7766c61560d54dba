"""What transcribing speech adds to `signwave.transcription`: which files, and how far into a long one it is."""

import time

from asr.datasets.folder import AUDIO_SUFFIXES
from signwave.command import say
from signwave.transcription import Medium

SPEECH = Medium(suffixes=AUDIO_SUFFIXES, noun="audio or video file", verb="transcribing")
SAY_EVERY_SECONDS = 30.0


class Heartbeat:
    """Says every 30 s how far the file at hand is: a long one is a single step of the progress bar."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, name: str, seconds_done: float) -> None:
        """Take note of a batch; see `Recognizer.on_progress`."""
        now = time.monotonic()
        if now - self._last >= SAY_EVERY_SECONDS:
            self._last = now
            say(f"{name}: {seconds_done:.0f} s of audio done")
