"""One self-contained HTML page from result files: text, tables, pictures and clips, no network and no script needed."""

import base64
import html
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signwave.plots.figure import to_png
from signwave.rundir import RunDir, atomic_write, read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: start; }
td.number { text-align: end; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; opacity: .8; }
figure img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
.clips { display: flex; flex-wrap: wrap; gap: 1rem; } .clips figure { margin: 0; max-width: 16rem; }
video { max-width: 100%; border-radius: 4px; background: black; }
.note { border-inline-start: 4px solid #E69F00; background: var(--soft); padding: .5rem 1rem; }
pre { background: var(--soft); border-radius: 4px; padding: .6rem 1rem; overflow-x: auto; }
"""


def percent(value: float, *, digits: int = 1) -> str:
    """A fraction as people read it.

    >>> percent(0.1234)
    '12.3 %'
    """
    return f"{100 * value:.{digits}f} %"


def percent_interval(value: float, interval: Sequence[float] | None) -> str:
    """A fraction with its 95 % interval, as people read it."""
    if interval is None:
        return percent(value)
    return f"{percent(value)} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


class Page:
    """A page built from top to bottom; every text is escaped, every picture and clip is inside the file."""

    def __init__(self, title: str, *, lead: str = "") -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]
        if lead:
            self.paragraph(lead)

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        self._parts.append(f'<p dir="auto">{html.escape(text)}</p>')

    def note(self, text: str) -> None:
        """A paragraph the reader must not miss: what a figure does not show."""
        self._parts.append(f'<p class="note" dir="auto">{html.escape(text)}</p>')

    def code(self, text: str) -> None:
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table; cells that look like numbers are set to the right."""
        head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header)
        body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, figure: "Figure", caption: str) -> None:
        """A matplotlib figure as an embedded PNG."""
        source = _data_url(to_png(figure), "image/png")
        self._parts.append(_figure(f'<img src="{source}" alt="{html.escape(caption, quote=True)}">', caption))

    def clips(self, clips: Iterable[tuple[Path, str]]) -> None:
        """Short videos or sounds side by side, each with a caption; they are embedded, so keep them small."""
        shown = "".join(_figure(_player(path), caption) for path, caption in clips)
        self._parts.append(f'<div class="clips">{shown}</div>')

    def write(self, path: str | Path) -> None:
        """Write the page, atomically."""
        atomic_write(path, self.html())

    def html(self) -> str:
        """The whole page."""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style></head>\n<body>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )


def _cell(value: Any) -> str:
    text = str(value)
    kind = ' class="number"' if text[:1].isdigit() or text[:1] in "−-+" else ""
    return f'<td{kind} dir="auto">{html.escape(text)}</td>'


def _figure(content: str, caption: str) -> str:
    return f'<figure>{content}<figcaption dir="auto">{html.escape(caption)}</figcaption></figure>'


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _player(path: Path) -> str:
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    source = _data_url(path.read_bytes(), media_type)
    if media_type.startswith("audio/"):
        return f'<audio controls preload="none" src="{source}"></audio>'
    return f'<video controls muted loop playsinline preload="metadata" src="{source}"></video>'


def run_page(folder: str | Path) -> Page:
    """The page of one run, made from its files alone: results, training curves, settings, environment.

    Raises:
        ArtefactError: the run has no results.json yet.
    """
    from signwave.plots.curves import plot_training_curves, read_metrics

    run = RunDir(Path(folder))
    page = Page(f"Run {run.path.name}")
    page.heading("Results")
    page.table(["figure", "value"], flatten(read_json(run.results_json)))
    if run.metrics_csv.is_file():
        page.heading("Training")
        page.figure(plot_training_curves(read_metrics(run.metrics_csv)), "Every logged metric over optimiser steps.")
    for title, path in (("Settings", run.config_yaml), ("Environment", run.env_json)):
        if path.is_file():
            page.heading(title)
            page.code(path.read_text(encoding="utf-8"))
    return page


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested results as (dotted name, text) rows.

    >>> flatten({"test": {"wer": 0.25, "interval": [0.2, 0.3]}})
    [('test.wer', '0.25'), ('test.interval', '0.2, 0.3')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(_short(item) for item in value)))
        else:
            rows.append((name, _short(value)))
    return rows


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
