"""Filters, tags and clips as people type them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signwave.errors import UserError
from signwave.index import Index
from signwave.index.interface import Between
from slr.retrieval.search.filters import parse_tags, parse_where, why_empty
from slr.retrieval.search.media_query import clip_of


def test_filters_are_values_lists_and_ranges() -> None:
    found = parse_where(["person=ann", "language=en,de", "date=2010-01..2011", "seconds=2.5..", "note=a=b"])
    assert found == {
        "person": "ann",
        "language": ["en", "de"],
        "date": Between("2010-01", "2011"),
        "seconds": Between(2.5, None),
        "note": "a=b",
    }
    assert parse_where(["seconds=..8"]) == {"seconds": Between(None, 8.0)}
    assert parse_where([]) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["person"], "give KEY=VALUE"),
        (["=x"], "give KEY=VALUE"),
        (["person="], "give KEY=VALUE"),
        (["person=a", "person=b"], "each key once"),
        (["seconds=long"], "'long' is no number"),
        (["date=.."], "a range needs a lower end"),
    ],
)
def test_wrong_filters_are_named(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_where(given)


def test_tags() -> None:
    assert parse_tags(["corpus=how2sign", "source=studio 2"]) == {"corpus": "how2sign", "source": "studio 2"}
    for wrong in ("corpus", "=x", "person=ann"):
        with pytest.raises(UserError, match="give KEY=VALUE with a key of your own"):
            parse_tags([wrong])


def test_a_clip_or_a_span_of_one() -> None:
    whole, part, pose = clip_of("-a@b.mp4"), clip_of("talk.mp4@2.5-4"), clip_of("x.POSE")
    assert (whole.path, whole.start_seconds, whole.end_seconds) == ("-a@b.mp4", 0.0, None)
    assert (part.path, part.start_seconds, part.end_seconds) == ("talk.mp4", 2.5, 4.0)
    assert (whole.kind, pose.kind) == ("video", "pose")
    with pytest.raises(UserError, match="ends before it begins"):
        clip_of("talk.mp4@4-2")


def test_a_key_that_no_clip_has_is_named(tmp_path: Path) -> None:
    payload = [{"person": "ann", "seconds": 2.0, "path": "a.mp4"}, {"person": "bob", "seconds": 3.0, "corpus": "mine"}]
    index = Index.build(
        tmp_path / "index", np.eye(2, dtype=np.float32), ["a", "b"], payload, info={"model_digest": "0" * 64}
    )
    assert why_empty(index, {"person": "eve"}) == "no clip in the index passes the filter"
    assert why_empty(index, None) == "no clip in the index passes the filter"
    assert why_empty(index, {"persn": "ann", "corpus": "x"}) == (
        "no clip in the index passes the filter: none has persn; they have corpus, person, seconds"
    )
