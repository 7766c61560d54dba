"""Pictures are pure functions: equal input, equal bytes, and no window."""

from pathlib import Path

import numpy as np
import pytest

from signwave.errors import ArtefactError
from signwave.plots.curves import Bar, Series, plot_rates, plot_training_curves, read_metrics
from signwave.plots.figure import save_png, to_png
from signwave.plots.posteriors import Posteriors, plot_posteriors
from signwave.plots.retrieval import SheetHit, plot_contact_sheet, plot_similarity


def posteriors(**changes: object) -> Posteriors:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), size=40).astype(np.float32)
    values = {
        "probabilities": probabilities,
        "tokens": ("<blank>", "A", "B", "C", "D"),
        "stride_seconds": 0.08,
        "span_tokens": ("B", "A"),
        "spans": np.array([[0.1, 0.4], [1.0, 1.3]]),
    }
    return Posteriors(**{**values, **changes})  # type: ignore[arg-type]


def test_equal_input_gives_equal_bytes() -> None:
    first, second = to_png(plot_posteriors(posteriors())), to_png(plot_posteriors(posteriors()))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_metrics_csv_with_gaps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/wer\n0,1,2.5,\n0,2,nan,\n0,2,,0.5\n1,3,1.5,\n")
    metrics = read_metrics(path)
    assert metrics == {"train/loss": Series([1, 3], [2.5, 1.5]), "val/wer": Series([2], [0.5])}
    figure = plot_training_curves(metrics)
    assert [ax.get_title() for ax in figure.axes] == ["loss", "wer"]


def test_metrics_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,a\n1,many\n")
    with pytest.raises(ArtefactError, match=r"m\.csv: can't be read as metrics"):
        read_metrics(tmp_path / "m.csv")


@pytest.mark.parametrize("above", ["nothing", "thumbnails", "audio"])
def test_posteriors_survive_the_file_and_draw(above: str, tmp_path: Path) -> None:
    changes: dict[str, object] = {"reference": "B A"}
    if above == "thumbnails":
        changes |= {"thumbnails": np.zeros((2, 8, 8, 3), np.uint8), "thumbnail_seconds": np.array([0.5, 1.5])}
    if above == "audio":
        changes |= {"audio": np.sin(np.arange(16000) / 50).astype(np.float32)}
    posteriors(**changes).save(tmp_path / "p.npz")
    loaded = Posteriors.load(tmp_path / "p.npz")
    assert loaded.tokens == posteriors().tokens
    assert np.abs(loaded.probabilities - posteriors().probabilities).max() < 1e-3
    figure = plot_posteriors(loaded)
    heat = figure.axes[0 if above == "nothing" else 1]
    assert [label.get_text() for label in heat.get_yticklabels()][:2] == ["B", "A"]
    assert [label.get_text() for label in heat.get_yticklabels()][-1] == "<blank>"
    to_png(figure)


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", probabilities=np.array([object()], dtype=object))
    with pytest.raises(ArtefactError, match="not a posterior file"):
        Posteriors.load(tmp_path / "p.npz")


def test_empty_recognition_draws() -> None:
    empty = posteriors(probabilities=np.zeros((0, 5), np.float32), span_tokens=(), spans=np.zeros((0, 2)))
    to_png(plot_posteriors(empty))


def test_similarity_marks_truth_and_checks_labels(tmp_path: Path) -> None:
    scores = np.eye(3, dtype=np.float32)
    figure = plot_similarity(scores, queries="abc", gallery="xyz", relevant=np.eye(3, dtype=bool))
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[0, 0], [1, 1], [2, 2]]
    save_png(figure, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000
    with pytest.raises(ValueError, match=r"scores must be \(2, 3\)"):
        plot_similarity(scores, queries="ab", gallery="xyz")


def test_contact_sheet_says_right_and_wrong() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    hits = [SheetHit(picture, "a", 0.9, True), SheetHit(picture, "b", float("nan"), False), SheetHit(picture, "c", 0.1)]
    figure = plot_contact_sheet([("house", hits)], num_columns=4)
    assert [ax.get_title() for ax in figure.axes] == ["", "a 0.90 ✓", "b – ✗", "c 0.10", ""]


def test_rates_are_drawn_in_percent() -> None:
    figure = plot_rates({"ours": [Bar("seen", 0.1, (0.05, 0.2))], "baseline": [Bar("seen", 0.5)]})
    assert [text.get_text() for text in figure.axes[0].texts] == ["10.0", "50.0"]
