"""The page of `slr search --html`: every hit as a player that starts at the match, with what matched and when."""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path

from signwave.errors import MediaError
from signwave.rundir import atomic_write
from slr.retrieval.search.page_media import SCRIPT, picture
from slr.retrieval.search.results import Answer, Hit

_STYLE = """
body{font-family:system-ui,sans-serif;margin:1.5rem;background:#fafafa;color:#222}
ol{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:1rem}
li{background:#fff;border:1px solid #ddd;border-radius:8px;padding:.8rem;width:220px}
canvas,video,img{background:#f0f3f7;border-radius:6px;display:block;margin:0 auto .4rem}
.strip{display:flex;height:10px;border-radius:3px;overflow:hidden;background:#eee;margin:.3rem 0}
.strip i{display:block;height:100%}
small{color:#555}table{font-size:.75rem;width:100%}td{padding:0 .2rem}[data-at]{cursor:pointer}
"""


def write(path: str | Path, answer: Answer) -> None:
    """Write the page. A hit whose file can't be read any more is listed without a picture, with the reason."""
    atomic_write(Path(path), page(answer, folder=Path(path).absolute().parent))


def page(answer: Answer, *, folder: Path) -> str:
    """The page as HTML; it needs no network, and of files only the videos, named relative to `folder`."""
    # The best moment on the page is full; a strip then tells within its clip and beside the others.
    best = max((value for hit in answer.hits for _, _, value in hit.profile), default=1.0)
    items = "\n".join(_item(number, hit, folder, best) for number, hit in enumerate(answer.hits))
    note = (
        "Each clip plays from where it matches. The strip shows how well each moment fits; a click on it, or on a row "
        "of what matched, goes there."
    )
    warnings = "".join(f"<p><small>{html.escape(text)}</small></p>" for text in answer.warnings)
    query = html.escape(answer.query)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{query}</title><style>{_STYLE}</style>\n'
        f'<h1>Clips for “<bdi dir="{_direction(answer.query)}">{query}</bdi>”</h1>{warnings}\n'
        f"<p><small>{note}</small></p>\n<ol>\n{items}\n</ol>\n<script>{SCRIPT}</script></html>\n"
    )


def _item(number: int, hit: Hit, folder: Path, best: float) -> str:
    try:
        shown = picture(number, hit, folder)
    except MediaError as error:
        shown = f"<p><small>{html.escape(str(error))}</small></p>"
    rows = "".join(
        f'<tr data-at="{m.start_seconds:.2f}"><td><bdi dir="{_direction(m.query)}">{html.escape(m.query)}</bdi></td>'
        f"<td>{m.start_seconds:.2f}–{m.end_seconds:.2f} s</td><td>{m.similarity:.2f}</td></tr>"
        for m in hit.matches
    )
    said = hit.text or next(iter(hit.captions.values()), "")
    title = f'<bdi dir="{_direction(said)}">{html.escape(said)}</bdi>'
    return (
        f"<li>{shown}{_strip(hit, best)}<b>{number + 1}. {title}</b> "
        f"<small>{html.escape(hit.language)}</small><br><small>{html.escape(hit.id)}<br>score {hit.score:.3f}, "
        f"{hit.start_seconds:.2f}–{hit.end_seconds:.2f} s</small>"
        f"<details><summary><small>what matched</small></summary><table>{rows}</table></details></li>"
    )


def _strip(hit: Hit, best: float) -> str:
    total = sum(end - start for start, end, _ in hit.profile) or 1.0
    cells = "".join(
        f'<i data-at="{start:.2f}" title="{start:.2f} s: {value:.2f}" style="width:{100 * (end - start) / total:.1f}%;'
        f'background:rgba(213,83,58,{max(value, 0.0) / max(best, 1e-6):.2f})"></i>'
        for start, end, value in hit.profile
    )
    return f'<div class="strip">{cells}</div>'


def _direction(text: str) -> str:
    """The writing direction: rtl where the first letter is of a right-to-left script."""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in ("L", "R", "AL"):
            return "ltr" if kind == "L" else "rtl"
    return "ltr"
