"""Recorded pose clips as training items: spans, labels, augmentation, and manifests that can't be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signwave.errors import LabelError, ManifestError
from signwave.manifest import Clip
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.data import PoseDataset
from slr.infer import Recognizer
from slr.poses import read_hands
from slr.transforms import Augmentation

VOCABULARY = Vocabulary(("<blank>", "A", "B"))


def clip(path: Path, **changes) -> Clip:
    values = {"id": path.stem, "path": str(path), "kind": "pose", "num_frames": 20, "rate_hz": 50.0, "text": "A B"}
    return Clip(**{**values, **changes})


def test_items_have_the_span_the_rate_and_the_labels(tmp_path: Path, write_pose) -> None:
    path = write_pose(tmp_path / "a.pose", [1, 2], fps=50.0)
    whole = clip(path)
    part = clip(path, id="part", start_seconds=0.2, end_seconds=0.4, num_frames=10, text="B")
    data = PoseDataset([whole, part], vocabulary=VOCABULARY)
    items = [data[Draw(index, 0)] for index in range(2)]
    assert data.lengths == [10, 5] == [len(item.hands) for item in items]
    assert [item.labels for item in items] == [[1, 2], [2]]
    np.testing.assert_allclose(items[0].hands, read_hands(path, rate_hz=25.0))
    batch = data.collate(items)
    batch.check()
    assert batch.ids == ("a", "part")
    assert (batch.frame_labels == -1).all()


def test_augmentation_is_the_draws(tmp_path: Path, write_pose) -> None:
    path = write_pose(tmp_path / "a.pose", [1, 2], fps=50.0)
    data = PoseDataset([clip(path)], vocabulary=VOCABULARY, augmentation=Augmentation())
    np.testing.assert_array_equal(data[Draw(0, 3)].hands, data[Draw(0, 3)].hands)
    assert not np.array_equal(data[Draw(0, 3)].hands, data[Draw(0, 4)].hands)


def test_unusable_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pose"
    with pytest.raises(LabelError, match=r"clip 'a': 'Z' not among the 2 tokens .* build the vocabulary"):
        PoseDataset([clip(path, text="A Z")], vocabulary=VOCABULARY)
    with pytest.raises(ManifestError, match="clip 'a' is of kind 'video'; this data set reads poses"):
        PoseDataset([clip(path, kind="video")], vocabulary=VOCABULARY)
    with pytest.raises(ManifestError, match="clip 'a' has no length; write the manifest with `slr prepare poses`"):
        PoseDataset([clip(path, num_frames=None)], vocabulary=VOCABULARY)


def test_public_names() -> None:
    import slr

    assert slr.Recognizer is Recognizer
    assert sorted(slr.__all__) == slr.__all__
    with pytest.raises(AttributeError, match="module 'slr' has no attribute 'Nothing'"):
        slr.Nothing  # noqa: B018


def test_real_clips_are_read(shared_data: Path) -> None:
    pytest.importorskip("pose_format")
    for path in ("mediapipe.pose", "phoenix14t-25October_2010_Monday_tagesschau-17.pose"):
        hands = read_hands(shared_data / "sign" / "poses" / path, rate_hz=25.0)
        palm = np.linalg.norm(hands[:, [5, 9, 13, 17]] - hands[:, :1], axis=-1).mean()
        assert np.isfinite(hands).all()
        assert 0.1 < palm < 0.8  # shoulder widths
