"""A stored recogniser in use: the same answer in any company, problems told, nothing lost in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from signwave import bundle
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from slr.crosslingual.signs import Sign
from slr.isolated.bags import Windows, spread
from slr.isolated.infer import IsolatedRecognizer
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND
from slr.reading import Needs

GLOSSES = {"dgs": ["<blank>", "A", "B"], "csl": ["<blank>", "X", "Y", "Z"]}
TEMPERATURES = {"dgs": 0.5, "csl": 2.0}
CONFIG: dict[str, Any] = {
    "trunk_kind": "slr.keypoint_conformer",
    "trunk": {"dim": 16, "group_dim": 8, "num_blocks": 1, "num_heads": 2},
    "num_classes": {name: len(glosses) for name, glosses in GLOSSES.items()},
}
INFO: dict[str, Any] = {
    "name": "tiny", "rate_hz": 25.0, "window_frames": 16, "evaluation_instances": 2, "temperatures": TEMPERATURES,
    "glosses": GLOSSES, "sources": {"dgs": {"path": "dgs.parquet", "sha256": "0" * 64}},
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> IsolatedSigns:
    torch.manual_seed(3)
    return IsolatedSigns(**CONFIG).eval()


@pytest.fixture
def run(tmp_path: Path, model: IsolatedSigns) -> Path:
    bundle.save(tmp_path / "run" / "bundle", kind=ISOLATED_KIND, model=model, config=CONFIG, info=INFO)
    return tmp_path / "run"


@pytest.fixture
def signs(tmp_path: Path, write_pose: Any) -> list[Sign]:
    """Twenty signs of four clips, more than a batch; the third clip is broken."""
    clips = []
    for number in range(4):
        path = tmp_path / f"{number}.pose"
        write_pose(path, [number, 3, 7], frames_each=12)
        clips.append(Clip(id=f"c{number}", path=str(path), kind="pose", num_frames=36, rate_hz=25.0))
    Path(clips[2].path).write_bytes(b"no pose")
    return [
        Sign(clip, "A", start, start + 0.2 + 0.1 * place)
        for clip in clips
        for place, start in enumerate((0, 0.2, 0.4, 0.6, 0.9))
    ]


def test_the_same_sign_gives_the_same_in_any_company(run: Path, signs: list[Sign]) -> None:
    recognizer = IsolatedRecognizer.load(run, device="cpu")
    together = recognizer.see(signs)
    mixed = recognizer.see(signs[::-1])
    for place, sign in enumerate(signs):
        alone = recognizer.see([sign])
        for other, at in ((alone, 0), (mixed, len(signs) - 1 - place)):
            np.testing.assert_allclose(together.embeddings[place], other.embeddings[at], atol=1e-5)
            for name in GLOSSES:
                np.testing.assert_allclose(together.log_probs[name][place], other.log_probs[name][at], atol=1e-4)


def test_a_sign_that_cannot_be_read_is_a_row_of_nan_and_a_problem(run: Path, signs: list[Sign]) -> None:
    seen = IsolatedRecognizer.load(run, device="cpu").see(signs)
    bad = [place for place, sign in enumerate(signs) if sign.clip.id == "c2"]
    assert sorted(seen.problems) == bad
    assert all("2.pose" in reason and "\n" not in reason for reason in seen.problems.values())
    for values in (seen.embeddings, *seen.log_probs.values()):
        assert values.dtype == np.float32
        assert np.isnan(values[bad]).all()
        assert np.isfinite(np.delete(values, bad, axis=0)).all()
    np.testing.assert_allclose(np.linalg.norm(np.delete(seen.embeddings, bad, axis=0), axis=1), 1, atol=1e-5)
    for name, values in seen.log_probs.items():
        assert values.shape == (20, len(GLOSSES[name]))
        np.testing.assert_allclose(np.exp(np.delete(values, bad, axis=0)).sum(1), 1, atol=1e-5)
    nothing = IsolatedRecognizer.load(run, device="cpu").see([signs[bad[0]]])
    assert np.isnan(nothing.embeddings).all()
    assert len(nothing.problems) == 1


def test_answers_are_calibrated_means_over_windows(run: Path, signs: list[Sign], model: IsolatedSigns) -> None:
    seen = IsolatedRecognizer.load(run, device="cpu").see(signs[:1])
    windows = Windows(Needs("keypoints", 25.0))
    reading = windows(signs[0], spread(*windows.span_of(signs[0]), num=2))
    inputs = torch.from_numpy(reading.inputs).reshape(2, 16, 63, 3)
    with torch.no_grad():
        features = model(inputs, torch.tensor([16, 16])).whole
        np.testing.assert_allclose(
            seen.embeddings[0], torch.nn.functional.normalize(model.embed(features).mean(0), dim=0).numpy(), atol=1e-5
        )
        for name, temperature in TEMPERATURES.items():
            mean = model.classify(features, name)["main"].exp().mean(0)
            expected = (mean.log() / temperature).log_softmax(0)
            np.testing.assert_allclose(seen.log_probs[name][0], expected.numpy(), atol=1e-4)


def test_windows_by_themselves(run: Path, signs: list[Sign]) -> None:
    """Windows that were read already: each alone, or those of a sign together, as `see` takes them."""
    recognizer = IsolatedRecognizer.load(run, device="cpu")
    seen = recognizer.see(signs[:2])
    windows = Windows(recognizer.needs)
    read = [windows(sign, spread(*windows.span_of(sign), num=2)).inputs for sign in signs[:2]]
    inputs = torch.from_numpy(np.concatenate(read)).reshape(4, 16, 63, 3)
    together, rows = recognizer.look(inputs, num_bags=2)
    np.testing.assert_allclose(together, seen.embeddings, atol=1e-5)
    each, log_probs = recognizer.look(inputs)
    for name, temperature in TEMPERATURES.items():
        np.testing.assert_allclose(rows[name], seen.log_probs[name], atol=1e-4)
        uncalibrated = torch.from_numpy(log_probs[name] * temperature).log_softmax(1).exp().reshape(2, 2, -1).mean(1)
        expected = (uncalibrated.log() / temperature).log_softmax(1)
        np.testing.assert_allclose(rows[name], expected.numpy(), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1, atol=1e-5)


def test_a_bundle_gives_the_model_back(run: Path, model: IsolatedSigns) -> None:
    recognizer = IsolatedRecognizer.load(run, device="cpu")
    for name, value in model.state_dict().items():
        assert torch.equal(recognizer.model.state_dict()[name], value)
    assert recognizer.languages == ("dgs", "csl")
    assert {name: list(recognizer.glosses(name)) for name in GLOSSES} == GLOSSES
    assert {name: recognizer.temperature(name) for name in GLOSSES} == TEMPERATURES
    assert recognizer.sources == INFO["sources"]
    assert (recognizer.name, recognizer.rate_hz, recognizer.window_frames) == ("tiny", 25.0, 16)
    assert recognizer.digest == bundle.load(run).digest
    with pytest.raises(UserError, match="tiny knows no language 'bsl'; it has dgs, csl"):
        recognizer.glosses("bsl")


def test_bundles_that_cannot_be_used_are_refused(tmp_path: Path, model: IsolatedSigns) -> None:
    bundle.save(tmp_path / "other", kind="slr.s3d", model=model, config=CONFIG, info=INFO)
    with pytest.raises(ArtefactError, match=r"of kind 'slr\.s3d', not 'slr\.isolated'"):
        IsolatedRecognizer.load(tmp_path / "other", device="cpu")
    for changes in (
        {"temperatures": {}},
        {"glosses": None},
        {"rate_hz": "fast"},
        {"glosses": {**GLOSSES, "csl": ["<blank>"]}},
    ):
        bundle.save(tmp_path / "broken", kind=ISOLATED_KIND, model=model, config=CONFIG, info={**INFO, **changes})
        with pytest.raises(ArtefactError, match=r"can't be used \(.*\); export the model again"):
            IsolatedRecognizer.load(tmp_path / "broken", device="cpu")
    smaller = {**CONFIG, "num_classes": {"dgs": 2, "csl": 4}}
    bundle.save(tmp_path / "broken", kind=ISOLATED_KIND, model=model, config=smaller, info=INFO)
    with pytest.raises(ArtefactError, match="can't be used"):
        IsolatedRecognizer.load(tmp_path / "broken", device="cpu")
