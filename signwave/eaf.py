"""Transcripts for ELAN (https://archive.mpi.nl/tla/elan): EAF 3.0, a tier of words or glosses and their confidences.

Equal transcripts give equal files: the date that the format asks for is a fixed one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from signwave.transcript import Transcript

TIER, CONFIDENCE_TIER = "glosses", "confidence"
_TYPE, _CONFIDENCE_TYPE = "gloss", "confidence"
_DATE = "2000-01-01T00:00:00+00:00"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".wav": "audio/x-wav",
    ".mp3": "audio/mpeg",
}
# The four that ELAN writes into every file, in its own words.
_CONSTRAINTS = (
    (
        "Time_Subdivision",
        "Time subdivision of parent annotation's time interval, no time gaps allowed within this interval",
    ),
    (
        "Symbolic_Subdivision",
        "Symbolic subdivision of a parent annotation. Annotations refering to the same parent are ordered",
    ),
    ("Symbolic_Association", "1-1 association with a parent annotation"),
    (
        "Included_In",
        "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
    ),
)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Interval(NamedTuple):
    """One annotation: [start, end) in milliseconds, its text and a confidence in [0, 1]."""

    start_ms: int
    end_ms: int
    text: str
    score: float


def intervals(transcript: Transcript) -> list[Interval]:
    """The words of a transcript as annotations of one tier: in order, none empty, none overlapping the next."""
    words = [word for word in transcript.words if word.text.strip()]
    starts: list[int] = []
    for word in words:
        earliest = starts[-1] + 1 if starts else 0
        starts.append(max(round(word.start_seconds * 1000), earliest))
    found = []
    for index, word in enumerate(words):
        end = max(round(word.end_seconds * 1000), starts[index] + 1)
        if index + 1 < len(words):
            end = min(end, starts[index + 1])
        found.append(Interval(starts[index], end, " ".join(word.text.split()), word.score))
    return found


def to_eaf(transcript: Transcript, *, folder: Path | None = None) -> str:
    """ELAN's file: a tier "glosses", and a tier "confidence" with one value for each of its annotations.

    Args:
        transcript: what to write; its file is linked where it is a video or sound that ELAN plays, or where such a
            file of its name lies beside it.
        folder: where the file will lie, for the relative link; None leaves that out.
    """
    annotations = intervals(transcript)
    root = Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "signwave",
            "DATE": _DATE,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _XSI,
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    _add_header(root, media_of(transcript.file), folder, num_annotations=2 * len(annotations))
    order = SubElement(root, "TIME_ORDER")
    # Two slots an annotation, shared by none: in ELAN, pulling at one annotation must not move its neighbour.
    for number, moment in enumerate((moment for one in annotations for moment in one[:2]), 1):
        SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{number}", TIME_VALUE=str(moment))
    _add_tiers(root, annotations)
    for name, alignable in ((_TYPE, "true"), (_CONFIDENCE_TYPE, "false")):
        constraint = {} if alignable == "true" else {"CONSTRAINTS": "Symbolic_Association"}
        values = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": alignable}
        SubElement(root, "LINGUISTIC_TYPE", constraint | values)
    for stereotype, description in _CONSTRAINTS:
        SubElement(root, "CONSTRAINT", DESCRIPTION=description, STEREOTYPE=stereotype)
    ElementTree.indent(root, space="    ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def media_of(file: str) -> Path | None:
    """The video or sound that belongs to an input: itself, or one of its name beside it; None where ELAN plays none."""
    path = Path(file)
    if "::" in file:
        return None
    if path.suffix.lower() in _MIME_TYPES:
        return path
    return next((beside for suffix in _MIME_TYPES if (beside := path.with_suffix(suffix)).is_file()), None)


def _add_header(root: Element, media: Path | None, folder: Path | None, *, num_annotations: int) -> None:
    header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if media is not None:
        values = {"MEDIA_URL": media.absolute().as_uri(), "MIME_TYPE": _MIME_TYPES[media.suffix.lower()]}
        if folder is not None:
            relative = Path(os.path.relpath(media.absolute(), folder.absolute())).as_posix()
            values["RELATIVE_MEDIA_URL"] = quote(relative if relative.startswith("../") else f"./{relative}")
        SubElement(header, "MEDIA_DESCRIPTOR", values)
    # ELAN counts on from here when somebody adds annotations.
    SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(num_annotations)


def _add_tiers(root: Element, annotations: Sequence[Interval]) -> None:
    tier = SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=TIER)
    beneath = SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_CONFIDENCE_TYPE, PARENT_REF=TIER, TIER_ID=CONFIDENCE_TIER)
    for number, one in enumerate(annotations, 1):
        held = SubElement(
            SubElement(tier, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            TIME_SLOT_REF1=f"ts{2 * number - 1}",
            TIME_SLOT_REF2=f"ts{2 * number}",
        )
        SubElement(held, "ANNOTATION_VALUE").text = _NOT_XML.sub("\ufffd", one.text)
    for number, one in enumerate(annotations, 1):
        held = SubElement(
            SubElement(beneath, "ANNOTATION"),
            "REF_ANNOTATION",
            ANNOTATION_ID=f"a{len(annotations) + number}",
            ANNOTATION_REF=f"a{number}",
        )
        SubElement(held, "ANNOTATION_VALUE").text = f"{one.score:.4f}"
