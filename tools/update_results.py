"""Put the demo's figures and a picture into the README, and the benchmarks into docs/benchmarks.md; none is typed.

    make demo && python tools/update_results.py [runs/demo]

Copies results.json to docs/results/demo.json, draws docs/images/demo.png, rewrites what stands between the markers in
README.md and docs/models.md, and docs/benchmarks.md from the newest results under tools/bench/results/.
"""

import sys
from pathlib import Path
from typing import Any

from signwave.plots.figure import COLOURS, new_figure, save_png
from signwave.plots.posteriors import Posteriors, draw_heat
from signwave.report import percent, percent_interval
from signwave.rundir import atomic_write, read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- results:start -->", "<!-- results:end -->"
STUDY_START, STUDY_END = "<!-- study:start -->", "<!-- study:end -->"
CLIP = "gsg-herbst"
LANGUAGES = {"en": "English", "de": "German", "ar": "Arabic"}
Row = tuple[str, str, str]


def main(demo: Path) -> int:
    """Rewrite all three."""
    figures = read_json(demo / "results.json")
    write_json(ROOT / "docs" / "results" / "demo.json", figures)
    save_png(picture(demo, figures), ROOT / "docs" / "images" / "demo.png")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = readme.split(START)
    after = rest.split(END)[1]
    atomic_write(ROOT / "README.md", f"{before}{START}\n{table(figures)}\n{END}{after}")
    atomic_write(ROOT / "docs" / "benchmarks.md", benchmarks())
    models = ROOT / "docs" / "models.md"
    before, rest = models.read_text(encoding="utf-8").split(STUDY_START)
    study = signers_table(read_json(ROOT / "docs" / "results" / "signers_study.json"))
    atomic_write(models, f"{before}{STUDY_START}\n{study}\n{STUDY_END}{rest.split(STUDY_END)[1]}")
    return 0


def signers_table(study: dict[str, Any]) -> str:
    """The study on made-up signers as a Markdown table."""
    lines = [
        "| model | WER on dev | WER on test | ends of aligned signs off by (median) | steps | minutes |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, found in study["figures"].items():
        low, high = found["test_interval_95"]
        test = f"{percent(found['test_wer'])} [{percent(low)}, {percent(high)}]"
        off = f"{found['median_boundary_error_frames']:.1f} frames"
        minutes = f"{found['seconds'] / 60:.0f}"
        lines.append(f"| {name} | {percent(found['dev_wer'])} | {test} | {off} | {found['num_steps']} | {minutes} |")
    hardware = study["environment"]["hardware"]
    return "\n".join([*lines, "", f"{study.get('note', '')} One core of {hardware['cpu']}."])


def table(figures: dict[str, Any]) -> str:
    """The demo's figures as a Markdown table, next to what they are to be compared with."""
    hardware, signs, search = figures["environment"]["hardware"], figures["signs"], figures["search"]
    centroid, neighbour = (percent(signs[f"{key}_wer_unseen_recordings"]) for key in ("baseline", "neighbour"))
    rows: list[Row] = [
        ("Signs: letters wrong, unseen words of known recordings", _rate(signs, "wer_seen_recordings"), ""),
        ("Signs: letters wrong, alphabets never seen", _rate(signs, "wer_unseen_recordings"),
         f"with true boundaries: nearest recording {neighbour}, nearest centroid {centroid}"),
    ]  # fmt: skip
    rows += [
        (f"Search: {LANGUAGES[key]} text → clip, R@1", _rate(found, "recall_at_1"),
         f"chance {percent(found['chance_at_1'], digits=2)}; R@5 {_rate(found, 'recall_at_5')}")
        for key, found in search["by_language"].items()
    ]  # fmt: skip
    rows += _speech_rows(figures["speech"])
    lines = [
        "| what | figure, 95 % interval | beside it |",
        "|---|---|---|",
        *("| " + " | ".join(r) + " |" for r in rows),
    ]
    minutes = figures["seconds_total"] / 60
    lines.append(
        f"\nMade in {minutes:.1f} minutes on {hardware['num_cores']} cores ({hardware['cpu']}), commit "
        f"`{figures['environment']['commit']}`; every figure: [docs/results/demo.json](docs/results/demo.json)."
    )
    return "\n".join(lines)


def _speech_rows(speech: dict[str, Any]) -> list[Row]:
    if speech["source"] is None:
        return []
    minutes = 60 * speech["hours_train"]
    return [
        ("Speech: words wrong, held-out prompts of one voice", percent_interval(speech["wer"], speech["wer_interval"]),
         f"greedy {percent(speech['wer_greedy'])}; {minutes:.0f} minutes to train on"),
        ("Speech: characters wrong", percent_interval(speech["cer"], speech["cer_interval"]),
         f"greedy {percent(speech['cer_greedy'])}"),
        ("Speech: real-time factor on one thread", f"{speech['real_time_factor']:.2f}", "below 1 is faster"),
    ]  # fmt: skip


def benchmarks() -> str:
    """A page with the ratios of the newest result of each benchmark."""
    newest: dict[str, Path] = {}
    for path in sorted((ROOT / "tools" / "bench" / "results").glob("*.json"), key=lambda p: p.stem.rsplit("_", 1)[-1]):
        newest[str(read_json(path)["name"])] = path
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`, then `python tools/update_results.py`. A ratio is what stands before the slash over",
        "what stands behind it, in time unless it says otherwise: below 1, the first takes less. Each script compares",
        "the results of both before their speed.",
    ]
    for name, path in sorted(newest.items()):
        result = read_json(path)
        lines += ["", f"## {name}", "", f"[{path.name}](../tools/bench/results/{path.name}), {_where(result)}", ""]
        lines += ["| what | ratio |", "|---|---|"]
        lines += [f"| {what} | {ratio:.3g} |" for what, ratio in result["ratio"].items() if _is_number(ratio)]
    return "\n".join(lines) + "\n"


def _where(result: dict[str, Any]) -> str:
    hardware = result["hardware"]
    return f"{hardware['cpu']}, {hardware['num_cores']} cores" if isinstance(hardware, dict) else str(hardware)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def picture(demo: Path, figures: dict[str, Any]) -> Any:
    """What the recogniser saw in a clip of an unseen signer, above a panel for each of the three uses."""
    figure = new_figure(11.0, 6.4)
    grid = figure.add_gridspec(2, 3, height_ratios=[1.15, 1])
    seen = Posteriors.load(demo / "posteriors" / f"{CLIP}.npz")
    top = figure.add_subplot(grid[0, :])
    draw_heat(top, seen, 10)
    top.set_title(f"a signer never seen spells {seen.reference}; recognised: {' '.join(seen.span_tokens)}", fontsize=10)
    panels = [figure.add_subplot(grid[1, column]) for column in range(3)]
    signs, search, speech = figures["signs"], figures["search"], figures["speech"]
    systems = {"this model": "wer", "nearest\nrecording": "neighbour_wer", "nearest\ncentroid": "baseline_wer"}
    rates = {name: _with_interval(signs, f"{key}_unseen_recordings") for name, key in systems.items()}
    _panel(panels[0], "signs: letters wrong, unseen signers (%)", rates)
    recalls = {LANGUAGES[key]: _with_interval(found, "recall_at_1") for key, found in search["by_language"].items()}
    _panel(panels[1], "search: text → clip, R@1 (%)", {**recalls, "chance": (search["chance_at_1"], None)})
    names = {"WER": "wer", "CER": "cer"} if speech["source"] is not None else {}
    errors = {name: _with_interval(speech, key) for name, key in names.items()}
    _panel(panels[2], "speech: held-out prompts, errors (%)", errors)
    return figure


def _with_interval(figures: dict[str, Any], name: str) -> tuple[float, Any]:
    return figures[name], figures.get(f"{name}_interval")


def _panel(ax: Any, title: str, bars: dict[str, tuple[float, Any]]) -> None:
    for place, (value, interval) in enumerate(bars.values()):
        low, high = interval or (value, value)
        ax.bar(place, 100 * value, yerr=[[100 * (value - low)], [100 * (high - value)]], color=COLOURS[place % 6],
               width=0.6, error_kw={"capsize": 3, "elinewidth": 1})  # fmt: skip
        ax.text(place, 100 * high + 1, f"{100 * value:.1f}", ha="center", fontsize=9)
    ax.set_xticks(range(len(bars)), list(bars), fontsize=9)
    ax.set_title(title, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def _rate(figures: dict[str, Any], name: str) -> str:
    return percent_interval(figures[name], figures.get(f"{name}_interval"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")))
