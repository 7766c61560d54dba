"""The report page: self-contained, escaped, remade from files."""

from pathlib import Path

import pytest

from signwave.errors import ArtefactError
from signwave.plots.curves import Bar, plot_rates
from signwave.report import Page, flatten, percent_interval, run_page
from signwave.rundir import RunDir, atomic_write, write_json


def test_every_text_is_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    clip = tmp_path / "<b>.mp4"
    clip.write_bytes(b"\x00\x01")
    page = Page("<script>", lead="a & b")
    page.heading("<h>")
    page.table(["<x>"], [["<y>", 0.5]])
    page.note("<n>")
    page.code("<c>")
    page.figure(plot_rates({"": [Bar("a", 0.5)]}), 'a "caption"')
    page.clips([(clip, "<cap>")])
    text = page.html()
    for raw in ("<script>", "<h>", "<x>", "<y>", "<n>", "<c>", "<cap>"):
        assert raw not in text
    assert "http" not in text
    assert 'src="data:video/mp4;base64,AAE="' in text
    assert '<td class="number" dir="auto">0.5</td>' in text


def test_equal_pages_have_equal_bytes() -> None:
    pages = []
    for _ in range(2):
        page = Page("t")
        page.figure(plot_rates({"": [Bar("a", 0.5, (0.4, 0.6))]}), "c")
        pages.append(page.html())
    assert pages[0] == pages[1]


def test_run_page_is_made_from_the_files_of_the_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(ArtefactError, match=r"results\.json"):
        run_page(tmp_path)
    write_json(run.results_json, {"test": {"wer": 0.25}})
    atomic_write(run.metrics_csv, "epoch,step,train/loss\n0,1,2.5\n")
    atomic_write(run.config_yaml, "seed: 1\n")
    text = run_page(tmp_path).html()
    assert "test.wer" in text
    assert "seed: 1" in text
    assert "data:image/png" in text


def test_flatten_and_percent() -> None:
    assert flatten({"a": {"b": 1, "c": [0.123456, 2]}, "d": "x"}) == [("a.b", "1"), ("a.c", "0.1235, 2"), ("d", "x")]
    assert percent_interval(0.25, (0.2, 0.3)) == "25.0 % [20.0, 30.0]"
