"""Text of speech: normalisers per language as tables, a display form that can be taken back, spelt numbers."""

from asr.text.normalisers import (
    ANY,
    ARABIC,
    ENGLISH,
    NORMALISERS,
    PERSIAN,
    URDU,
    for_language,
    for_scoring,
    perso_arabic,
    primary,
)

__all__ = [
    "ANY",
    "ARABIC",
    "ENGLISH",
    "NORMALISERS",
    "PERSIAN",
    "URDU",
    "for_language",
    "for_scoring",
    "perso_arabic",
    "primary",
]
