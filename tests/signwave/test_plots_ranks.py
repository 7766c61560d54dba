"""The picture of ranks: what its lines show."""

import numpy as np

from signwave.metrics import Ranks
from signwave.plots.figure import to_png
from signwave.plots.retrieval import RankLine, plot_ranks


def ranks(above):
    above = np.array(above)
    return Ranks(above, np.ones_like(above), np.ones_like(above), 20)


def test_curves_bars_and_chance():
    perfect = ranks([0, 0, 0, 0])
    lines = [RankLine("en", ranks([0, 0, 3, 9]), perfect), RankLine("de", ranks([19, 1, 1, 1]), perfect)]
    figure = plot_ranks({"text to video": lines})
    curve, histogram = figure.axes
    drawn = {line.get_label(): line for line in curve.get_lines()}
    assert float(drawn["en"].get_ydata()[0]) == 50.0
    assert float(drawn["de"].get_ydata()[-1]) == 100.0
    assert float(drawn["chance"].get_ydata()[0]) == 5.0
    heights = [bar.get_height() for bar in histogram.patches]
    assert sum(heights) == 8
    assert heights[0] == 2  # rank 1 of the first line
    assert [label.get_text() for label in histogram.get_xticklabels()] == ["1", "2–3", "4–7", "8–15", "16–31"]
    assert to_png(figure) == to_png(plot_ranks({"text to video": lines}))


def test_nothing_to_draw_is_an_empty_picture():
    assert to_png(plot_ranks({})).startswith(b"\x89PNG")
