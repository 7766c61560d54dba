"""What recognising signs adds to `signwave.transcription`: which files, and where a pause is one."""

from signwave.transcription import Medium

PAUSE_SECONDS = 1.0
"""Without a sign for this long, a segment and a subtitle end: signing has longer rests in it than speech."""

SIGNS = Medium(suffixes=frozenset({".pose"}), noun=".pose file", verb="recognising", cue_pause_seconds=PAUSE_SECONDS)
