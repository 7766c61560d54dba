"""ELAN and Praat files read back by strict readers of their own: structure, references, times, odd texts."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.eaf import media_of, to_eaf
from signwave.textgrid import to_textgrid
from signwave.transcript import Segment, Transcript, Word

# Element → required attributes, optional attributes, children in their order (EAFv3.0.xsd, the part used here).
_SCHEMA = {
    "ANNOTATION_DOCUMENT": (
        {"AUTHOR", "DATE", "VERSION"},
        {"FORMAT", "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"},
        ("HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT"),
    ),
    "HEADER": (set(), {"MEDIA_FILE", "TIME_UNITS"}, ("MEDIA_DESCRIPTOR", "PROPERTY")),
    "MEDIA_DESCRIPTOR": ({"MEDIA_URL", "MIME_TYPE"}, {"RELATIVE_MEDIA_URL"}, ()),
    "PROPERTY": (set(), {"NAME"}, ()),
    "TIME_ORDER": (set(), set(), ("TIME_SLOT",)),
    "TIME_SLOT": ({"TIME_SLOT_ID"}, {"TIME_VALUE"}, ()),
    "TIER": ({"TIER_ID", "LINGUISTIC_TYPE_REF"}, {"PARENT_REF"}, ("ANNOTATION",)),
    "ANNOTATION": (set(), set(), ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")),
    "ALIGNABLE_ANNOTATION": ({"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"}, set(), ("ANNOTATION_VALUE",)),
    "REF_ANNOTATION": ({"ANNOTATION_ID", "ANNOTATION_REF"}, set(), ("ANNOTATION_VALUE",)),
    "ANNOTATION_VALUE": (set(), set(), ()),
    "LINGUISTIC_TYPE": ({"LINGUISTIC_TYPE_ID"}, {"TIME_ALIGNABLE", "CONSTRAINTS", "GRAPHIC_REFERENCES"}, ()),
    "CONSTRAINT": ({"STEREOTYPE"}, {"DESCRIPTION"}, ()),
}


def check_shape(element: ElementTree.Element) -> None:
    required, optional, children = _SCHEMA[element.tag]
    assert required <= set(element.attrib) <= required | optional, element.tag
    places = [children.index(child.tag) for child in element]
    assert places == sorted(places), element.tag
    if element.tag == "ANNOTATION":
        assert len(element) == 1
    for child in element:
        check_shape(child)


def read_eaf(text: str) -> tuple[list[tuple[int, int, str, float]], ElementTree.Element]:
    """The annotations of a file, once everything that ELAN asks of it holds."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "ANNOTATION_DOCUMENT"
    check_shape(root)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", root.attrib["DATE"])
    header = root.find("HEADER")
    assert header.attrib["TIME_UNITS"] == "milliseconds"
    slots = [(slot.attrib["TIME_SLOT_ID"], int(slot.attrib["TIME_VALUE"])) for slot in root.iter("TIME_SLOT")]
    assert [value for _, value in slots] == sorted(value for _, value in slots)
    ids = [name for name, _ in slots] + [e.attrib["ANNOTATION_ID"] for e in root.iter() if "ANNOTATION_ID" in e.attrib]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", name) for name in ids)
    times = dict(slots)
    types = {e.attrib["LINGUISTIC_TYPE_ID"]: e.attrib for e in root.iter("LINGUISTIC_TYPE")}
    stereotypes = {e.attrib["STEREOTYPE"] for e in root.iter("CONSTRAINT")}
    assert stereotypes == {"Time_Subdivision", "Symbolic_Subdivision", "Symbolic_Association", "Included_In"}
    glosses, confidences = root.findall("TIER")
    assert types[glosses.attrib["LINGUISTIC_TYPE_REF"]]["TIME_ALIGNABLE"] == "true"
    beneath = types[confidences.attrib["LINGUISTIC_TYPE_REF"]]
    assert (beneath["TIME_ALIGNABLE"], beneath["CONSTRAINTS"]) == ("false", "Symbolic_Association")
    assert confidences.attrib["PARENT_REF"] == glosses.attrib["TIER_ID"]
    values = {e.attrib["ANNOTATION_REF"]: float(e[0].text) for e in confidences.iter("REF_ANNOTATION")}
    found, before = [], 0
    for one in glosses.iter("ALIGNABLE_ANNOTATION"):
        start, end = times[one.attrib["TIME_SLOT_REF1"]], times[one.attrib["TIME_SLOT_REF2"]]
        assert before <= start < end
        before = end
        found.append((start, end, one[0].text, values.pop(one.attrib["ANNOTATION_ID"])))
    assert not values
    last = next(e.text for e in header.iter("PROPERTY") if e.attrib["NAME"] == "lastUsedAnnotationId")
    assert int(last) == 2 * len(found)
    return found, header


def read_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    lines = iter(text.splitlines())

    def value(key: str) -> str:
        line = next(lines).strip()
        assert line.startswith(key), (line, key)
        return line[len(key) :].strip(" =")

    assert value("File type") == '"ooTextFile"'
    assert value("Object class") == '"TextGrid"'
    assert next(lines) == ""
    start, end = float(value("xmin")), float(value("xmax"))
    assert next(lines) == "tiers? <exists>"
    tiers = {}
    for number in range(int(value("size"))):
        if number == 0:
            assert next(lines) == "item []:"
        assert next(lines).strip() == f"item [{number + 1}]:"
        assert value("class") == '"IntervalTier"'
        name = value("name").strip('"')
        assert (float(value("xmin")), float(value("xmax"))) == (start, end)
        tiers[name], now = [], start
        for place in range(int(value("intervals: size"))):
            assert next(lines).strip() == f"intervals [{place + 1}]:"
            low, high, quoted = float(value("xmin")), float(value("xmax")), value("text")
            assert low == now < high
            now = high
            assert re.fullmatch(r'"(?:[^"]|"")*"', quoted)
            tiers[name].append((low, high, quoted[1:-1].replace('""', '"')))
        assert now == end
    return tiers


def transcript_of(*words: Word, file: str = "clips/a.mp4", seconds: float = 9.0) -> Transcript:
    segments = (Segment(tuple(words)),) if words else ()
    return Transcript(file=file, segments=segments, duration_seconds=seconds)


def test_glosses_times_and_confidences_come_back() -> None:
    words = (Word("MORGEN", 0.1, 0.48, 0.91), Word("REGEN<&>\"'", 0.48, 0.48, 0.5), Word("loc-NORD", 3.0, 3.2, 1.0))
    found, _ = read_eaf(to_eaf(transcript_of(*words)))
    assert found == [(100, 480, "MORGEN", 0.91), (480, 481, "REGEN<&>\"'", 0.5), (3000, 3200, "loc-NORD", 1.0)]
    tiers = read_textgrid(to_textgrid(transcript_of(*words)))
    assert [row for row in tiers["glosses"] if row[2]] == [
        (0.1, 0.48, "MORGEN"), (0.48, 0.481, "REGEN<&>\"'"), (3.0, 3.2, "loc-NORD"),
    ]  # fmt: skip
    assert [row[2] for row in tiers["confidence"] if row[2]] == ["0.9100", "0.5000", "1.0000"]
    assert to_eaf(transcript_of(*words)) == to_eaf(transcript_of(*words))


@given(
    st.lists(st.tuples(st.text(max_size=8), st.floats(0, 2), st.floats(0, 2), st.floats(0, 1)), max_size=12),
    st.floats(0, 30),
)
@settings(max_examples=150, deadline=None)
def test_every_transcript_gives_valid_files(rows: list[tuple[str, float, float, float]], seconds: float) -> None:
    now, words = 0.0, []
    for text, pause, length, score in rows:
        words.append(Word(text, now + pause, now + pause + length, score))
        now += pause + length
    transcript = transcript_of(*words, seconds=seconds)
    found, _ = read_eaf(to_eaf(transcript))
    kept = [word for word in words if word.text.strip()]
    assert len(found) == len(kept)
    tiers = read_textgrid(to_textgrid(transcript))
    assert [len([row for row in rows if row[2]]) for rows in tiers.values()] == [len(kept)] * 2


def test_media_are_linked_both_ways(tmp_path: Path) -> None:
    video = tmp_path / "in" / "a clip.mov"
    video.parent.mkdir()
    video.write_bytes(b"x")
    _, header = read_eaf(to_eaf(transcript_of(file=str(video)), folder=tmp_path / "out"))
    media = header.find("MEDIA_DESCRIPTOR").attrib
    assert media["MEDIA_URL"] == video.as_uri()
    assert media["RELATIVE_MEDIA_URL"] == "../in/a%20clip.mov"
    assert media["MIME_TYPE"] == "video/quicktime"
    _, header = read_eaf(to_eaf(transcript_of(file=str(video)), folder=video.parent))
    assert header.find("MEDIA_DESCRIPTOR").attrib["RELATIVE_MEDIA_URL"] == "./a%20clip.mov"
    _, header = read_eaf(to_eaf(transcript_of(file=str(video))))
    assert "RELATIVE_MEDIA_URL" not in header.find("MEDIA_DESCRIPTOR").attrib


def test_poses_link_the_video_beside_them_and_archives_none(tmp_path: Path) -> None:
    pose = tmp_path / "a.pose"
    assert media_of(str(pose)) is None
    assert read_eaf(to_eaf(transcript_of(file=str(pose))))[1].find("MEDIA_DESCRIPTOR") is None
    (tmp_path / "a.webm").write_bytes(b"x")
    assert media_of(str(pose)) == tmp_path / "a.webm"
    assert media_of("clips.zip::deep/a.mp4") is None
    assert media_of("-") is None


def test_what_xml_cannot_hold_is_replaced() -> None:
    found, _ = read_eaf(to_eaf(transcript_of(Word("A\x00\x1bB\ufffe", 0, 1, 1))))
    assert found[0][2] == "A\ufffd\ufffdB\ufffd"
    with pytest.raises(ElementTree.ParseError):
        ElementTree.fromstring("<a>\x1b</a>")


def test_no_gloss_is_a_valid_file() -> None:
    assert read_eaf(to_eaf(transcript_of()))[0] == []
    assert read_textgrid(to_textgrid(transcript_of(seconds=0.0)))["glosses"] == [(0.0, 0.001, "")]
