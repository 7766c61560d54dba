"""What ties clips together, and which of them hang together by it: a file, a speaker, a prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from asr.text import for_language
from signwave.manifest import Clip

Key = Literal["speaker", "prompt"]

Tie = tuple[str, str]
"""Of which sort, and its value."""


def prompt_of(clip: Clip) -> str:
    """Return the text of a clip after the normaliser of its language: equal prompts have equal ones."""
    return for_language(clip.language)(clip.text)


def ties_of(clip: Clip, by: Sequence[Key]) -> list[Tie]:
    """Return what ties a clip to others."""
    found = [("path", clip.path), ("sha256", clip.sha256)]
    if "speaker" in by:
        found.append(("person", clip.person))
    if "prompt" in by:
        found += [("text", prompt_of(clip)), ("group", clip.group)]
    return [(sort, value) for sort, value in found if value]


def components(ties: Sequence[Sequence[Tie]]) -> list[list[int]]:
    """Return which items hang together: lists of places, each in order, in the order of their first items.

    >>> components([[("person", "a")], [("text", "x")], [("person", "a"), ("text", "y")]])
    [[0, 2], [1]]
    """
    parents = list(range(len(ties)))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]  # the way is halved each time
            item = parents[item]
        return item

    first: dict[Tie, int] = {}
    for item, tie in ((item, tie) for item, some in enumerate(ties) for tie in some):
        one, other = root(item), root(first.setdefault(tie, item))
        parents[max(one, other)] = min(one, other)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for item in range(len(ties)):
        members[root(item)].append(item)
    return list(members.values())
