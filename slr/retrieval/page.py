"""The page of `slr search --html`: every hit as a small moving skeleton that starts at the match, in one file."""

from __future__ import annotations

import html
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.rundir import atomic_write
from slr.keypoints.hand_transforms import NUM_HAND_POINTS, PARENTS, FloatArray, other_hand_seen
from slr.keypoints.hands import read_clip
from slr.retrieval.results import Answer, Hit

_RATE_HZ = 12.5
_SIZE_PX = 180
_LEAD_SECONDS = 0.2

_STYLE = """
body{font-family:system-ui,sans-serif;margin:1.5rem;background:#fafafa;color:#222}
ol{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:1rem}
li{background:#fff;border:1px solid #ddd;border-radius:8px;padding:.8rem;width:220px}
canvas{background:#f0f3f7;border-radius:6px;display:block;margin:0 auto .4rem}
.strip{display:flex;height:10px;border-radius:3px;overflow:hidden;background:#eee;margin:.3rem 0}
.strip i{display:block;height:100%}
small{color:#555}table{font-size:.75rem;width:100%}td{padding:0 .2rem}
"""

_SCRIPT = """
const PARENTS=%(parents)s,SIZE=%(size)d,N=%(points)d;
document.querySelectorAll("canvas").forEach(c=>{
  const d=JSON.parse(document.getElementById(c.dataset.of).textContent),g=c.getContext("2d");
  let at=d.first;
  const draw=()=>{
    g.clearRect(0,0,SIZE,SIZE);
    const f=d.frames[at],on=at>=d.first&&at<d.stop;
    for(let h=0;h<f.length/(2*N);h++)for(let j=1;j<N;j++){
      const a=2*(h*N+j),b=2*(h*N+PARENTS[j]);
      g.strokeStyle=on?(h?"#3a7bd5":"#d5533a"):"#aaa";g.lineWidth=3;
      g.beginPath();g.moveTo(f[b],f[b+1]);g.lineTo(f[a],f[a+1]);g.stroke();
    }
    at=(at+1)%%d.frames.length;
  };
  draw();setInterval(draw,1000/d.rate);
});
"""


def write(path: str | Path, answer: Answer) -> None:
    """Write the page. A hit whose file can't be read any more is listed without a picture, with the reason."""
    atomic_write(Path(path), page(answer))


def page(answer: Answer) -> str:
    """The page as HTML; it needs no other file and no network."""
    items = "\n".join(_item(number, hit) for number, hit in enumerate(answer.hits))
    note = "Each clip plays from where it matches; the match is in colour. The strip shows how well each moment fits."
    warnings = "".join(f"<p><small>{html.escape(text)}</small></p>" for text in answer.warnings)
    query = html.escape(answer.query)
    script = _SCRIPT % {"parents": json.dumps(PARENTS), "size": _SIZE_PX, "points": NUM_HAND_POINTS}
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{query}</title><style>{_STYLE}</style>\n'
        f'<h1>Clips for “<bdi dir="{_direction(answer.query)}">{query}</bdi>”</h1>{warnings}\n'
        f"<p><small>{note}</small></p>\n<ol>\n{items}\n</ol>\n<script>{script}</script></html>\n"
    )


def _item(number: int, hit: Hit) -> str:
    try:
        frames = _frames(hit)
        picture = (
            f'<canvas width="{_SIZE_PX}" height="{_SIZE_PX}" data-of="hit{number}"></canvas>'
            f'<script type="application/json" id="hit{number}">{json.dumps(frames, separators=(",", ":"))}</script>'
        )
    except MediaError as error:
        picture = f"<p><small>{html.escape(str(error))}</small></p>"
    rows = "".join(
        f'<tr><td><bdi dir="{_direction(m.query)}">{html.escape(m.query)}</bdi></td>'
        f"<td>{m.start_seconds:.2f}–{m.end_seconds:.2f} s</td><td>{m.similarity:.2f}</td></tr>"
        for m in hit.matches
    )
    title = f'<bdi dir="{_direction(hit.text)}">{html.escape(hit.text)}</bdi>'
    return (
        f"<li>{picture}{_strip(hit)}<b>{number + 1}. {title}</b> "
        f"<small>{html.escape(hit.language)}</small><br><small>{html.escape(hit.id)}<br>score {hit.score:.3f}, "
        f"{hit.start_seconds:.2f}–{hit.end_seconds:.2f} s</small>"
        f"<details><summary><small>what matched</small></summary><table>{rows}</table></details></li>"
    )


def _frames(hit: Hit) -> dict[str, Any]:
    """Whole-pixel points of every frame: x, y of the signing hand, then of the other one where it is seen."""
    end = max((stop for _, stop, _ in hit.profile), default=hit.end_seconds)
    begin = min((start for start, _, _ in hit.profile), default=0.0)
    clip = read_clip(hit.path, rate_hz=_RATE_HZ, start_seconds=begin, end_seconds=max(end, begin + 1 / _RATE_HZ))
    first = max(0, round((hit.start_seconds - begin - _LEAD_SECONDS) * _RATE_HZ))
    stop = round((hit.end_seconds - begin) * _RATE_HZ)
    points = _pixels(clip.hands)
    seen = other_hand_seen(clip.hands).tolist()
    frames = [row if both else row[: 2 * NUM_HAND_POINTS] for row, both in zip(points.tolist(), seen, strict=True)]
    return {"rate": _RATE_HZ, "first": min(first, len(frames) - 1), "stop": max(stop, first + 1), "frames": frames}


def _pixels(hands: FloatArray) -> NDArray[np.int64]:
    """(T, 84) int64, x and y in [0, _SIZE_PX): the box of all seen points fills the picture. hands: (T, 42, 3)."""
    flat = hands[..., :2].reshape(-1, 2)
    used = flat[flat.any(axis=1)]
    low, high = used.min(axis=0), used.max(axis=0)
    scale = 0.9 * _SIZE_PX / max(float((high - low).max()), 1e-6)
    centred = (hands[..., :2] - (low + high) / 2) * scale + _SIZE_PX / 2
    return np.asarray(np.rint(centred), dtype=np.int64).reshape(len(hands), -1)


def _strip(hit: Hit) -> str:
    total = sum(end - start for start, end, _ in hit.profile) or 1.0
    cells = "".join(
        f'<i style="width:{100 * (end - start) / total:.1f}%;background:rgba(213,83,58,{max(value, 0.0):.2f})"></i>'
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
