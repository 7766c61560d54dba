"""The moving pictures of a page of hits: videos that the browser plays, skeletons, and small films of anything else."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.media.video import open_video
from slr.keypoints.hand_transforms import NUM_HAND_POINTS, PARENTS, FloatArray, other_hand_seen
from slr.keypoints.hands import read_clip
from slr.reading import POSE_SUFFIX
from slr.retrieval.search.results import Hit

SIZE_PX = 180
PLAYABLE = (".mp4", ".m4v", ".webm", ".mov", ".ogv")
"""What browsers play by themselves."""
_RATE_HZ = 12.5
_FILM_RATE_HZ, _FILM_FRAMES = 8.0, 40
_LEAD_SECONDS = 0.2

_BONES = f"const PARENTS={json.dumps(PARENTS)},SIZE={SIZE_PX},N={NUM_HAND_POINTS},LEAD={_LEAD_SECONDS};"
SCRIPT = (
    _BONES
    + """
document.querySelectorAll("canvas").forEach(c=>{
  const d=JSON.parse(document.getElementById(c.dataset.of).textContent),g=c.getContext("2d");
  let at=d.first;
  c.seek=t=>{at=Math.max(0,Math.min(d.frames.length-1,Math.round((t-d.begin)*d.rate)))};
  const draw=()=>{
    g.clearRect(0,0,SIZE,SIZE);
    const f=d.frames[at],on=at>=d.first&&at<d.stop;
    for(let h=0;h<f.length/(2*N);h++)for(let j=1;j<N;j++){
      const a=2*(h*N+j),b=2*(h*N+PARENTS[j]);
      g.strokeStyle=on?(h?"#3a7bd5":"#d5533a"):"#aaa";g.lineWidth=3;
      g.beginPath();g.moveTo(f[b],f[b+1]);g.lineTo(f[a],f[a+1]);g.stroke();
    }
    at=(at+1)%d.frames.length;
  };
  draw();setInterval(draw,1000/d.rate);
});
document.querySelectorAll("video").forEach(v=>{
  const start=+v.dataset.start;
  v.seek=t=>{v.currentTime=t;v.play()};
  v.addEventListener("loadedmetadata",()=>{v.currentTime=Math.max(0,start-LEAD)},{once:true});
});
document.querySelectorAll("[data-at]").forEach(e=>e.addEventListener("click",()=>{
  const m=e.closest("li").querySelector("video,canvas");
  if(m&&m.seek)m.seek(+e.dataset.at);
}));
"""
)


def picture(number: int, hit: Hit, folder: Path) -> str:
    """HTML of the moving picture of a hit.

    Args:
        number: of the hit on its page.
        hit: what is shown.
        folder: of the page; videos are named relative to it.

    Raises:
        MediaError: the file can't be read any more.
    """
    suffix = Path(hit.path).suffix.lower()
    if suffix == POSE_SUFFIX:
        data = json.dumps(_skeleton(hit), separators=(",", ":"))
        return (
            f'<canvas width="{SIZE_PX}" height="{SIZE_PX}" data-of="hit{number}"></canvas>'
            f'<script type="application/json" id="hit{number}">{data}</script>'
        )
    if suffix in PLAYABLE and Path(hit.path).is_file():
        link = quote(Path(os.path.relpath(hit.path, folder)).as_posix())
        return (
            f'<video src="{html.escape(link)}" data-start="{hit.start_seconds:.3f}" width="{SIZE_PX}" controls muted '
            f'loop playsinline preload="metadata" title="{html.escape(hit.id)}"></video>'
        )
    return f'<img alt="{html.escape(hit.id)}" width="{SIZE_PX}" src="data:image/webp;base64,{_film(hit)}">'


def _span(hit: Hit) -> tuple[float, float]:
    begin = min((start for start, _, _ in hit.profile), default=0.0)
    return begin, max((stop for _, stop, _ in hit.profile), default=hit.end_seconds)


def _film(hit: Hit) -> str:
    """A small film from the match on, as base64 of an animated WebP."""
    from PIL import Image

    _, end = _span(hit)
    start = max(0.0, hit.start_seconds - _LEAD_SECONDS)
    with open_video(hit.path) as video:
        pixels = video.frames(start, max(end, start + 1 / _FILM_RATE_HZ)).pixels
        step = max(1, round(video.fps / _FILM_RATE_HZ))
    pictures = [Image.fromarray(frame.transpose(1, 2, 0)) for frame in pixels[::step][:_FILM_FRAMES]]
    for one in pictures:
        one.thumbnail((SIZE_PX, SIZE_PX))
    if not pictures:
        raise MediaError(hit.path, "holds no frame where the index says that the clip lies")
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=round(1000 / _FILM_RATE_HZ), loop=0
    )
    return base64.b64encode(buffer.getvalue()).decode()


def _skeleton(hit: Hit) -> dict[str, Any]:
    """Whole-pixel points of every frame: x, y of the signing hand, then of the other one where it is seen."""
    begin, end = _span(hit)
    clip = read_clip(hit.path, rate_hz=_RATE_HZ, start_seconds=begin, end_seconds=max(end, begin + 1 / _RATE_HZ))
    first = max(0, round((hit.start_seconds - begin - _LEAD_SECONDS) * _RATE_HZ))
    stop = round((hit.end_seconds - begin) * _RATE_HZ)
    points = _pixels(clip.hands)
    seen = other_hand_seen(clip.hands).tolist()
    frames = [row if both else row[: 2 * NUM_HAND_POINTS] for row, both in zip(points.tolist(), seen, strict=True)]
    return {
        "rate": _RATE_HZ,
        "begin": round(begin, 3),
        "first": min(first, len(frames) - 1),
        "stop": max(stop, first + 1),
        "frames": frames,
    }


def _pixels(hands: FloatArray) -> NDArray[np.int64]:
    """(T, 84) int64, x and y in [0, SIZE_PX): the box of all seen points fills the picture. hands: (T, 42, 3)."""
    flat = hands[..., :2].reshape(-1, 2)
    used = flat[flat.any(axis=1)]
    low, high = used.min(axis=0), used.max(axis=0)
    scale = 0.9 * SIZE_PX / max(float((high - low).max()), 1e-6)
    centred = (hands[..., :2] - (low + high) / 2) * scale + SIZE_PX / 2
    return np.asarray(np.rint(centred), dtype=np.int64).reshape(len(hands), -1)
