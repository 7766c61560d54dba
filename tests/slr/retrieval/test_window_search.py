"""A model on windows in use: streams that a clip lacks, cached features, times, captions for a clip, the page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from signwave import bundle, command
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip, read, write
from signwave.media.video import write_video
from slr.cli import app
from slr.datasets.performances import write_hands
from slr.features.building import build as build_features
from slr.features.window_encoders import load_window_encoder
from slr.features.windows import SlidingWindows
from slr.isolated.model import IsolatedSigns
from slr.models.keypoint_conformer import KeypointConformerConfig
from slr.models.towers import build_dual_encoder
from slr.models.video_tower import WindowTowerConfig
from slr.retrieval.evaluation.scoring import score_manifest
from slr.retrieval.search.indexing import build
from slr.retrieval.search.retriever import Retriever
from slr.retrieval.stored import save_model
from slr.retrieval.text_config import CAPTION_NORMALISER, TextTowerConfig
from slr.retrieval.texts import Pieces

pytest.importorskip("pose_format")
RATE_HZ = 25.0
WINDOWS = SlidingWindows(most=3)
CAPTIONS = ("rain in the north", "sun in the south", "Schnee im Norden")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, of which one has only a video and one only poses, an encoder for each stream, and a model."""
    folder = tmp_path_factory.mktemp("world")
    rng, clips = np.random.default_rng(0), []
    for number, caption in enumerate(CAPTIONS):
        path, poses = folder / f"-{number}.mp4", folder / f"-{number}.pose"
        if number != 1:
            hands = rng.normal(size=(20 + number, 42, 3)).astype(np.float32) * 0.1
            write_hands(poses, hands, rate_hz=RATE_HZ)
        if number != 2:
            pixels = rng.integers(0, 256, (20 + number, 3, 32, 48), dtype=np.uint8)
            write_video(path, pixels, fps=RATE_HZ)
        alone = number == 2
        clips.append(
            Clip(
                id=f"-{number}", path=str(poses if alone else path), kind="pose" if alone else "video",
                captions={"de" if alone else "en": caption}, date=f"2020-0{number + 1}-01", person="ann",
                poses_path=str(poses) if number == 0 else "",
            )
        )  # fmt: skip
    write(folder / "manifest.jsonl", clips)
    _write_islr(folder / "islr")
    _write_model(folder)
    return folder


def _write_islr(folder: Path) -> None:
    sizes = {"dim": 16, "group_dim": 8, "num_heads": 2, "num_blocks": 1}
    config: dict[str, Any] = {
        "trunk_kind": "slr.keypoint_conformer",
        "trunk": {**asdict(KeypointConformerConfig(**sizes)), "vocab_size": 2},
        "num_classes": {"a": 3},
    }
    torch.manual_seed(0)
    info = {"rate_hz": RATE_HZ, "window_frames": 16}
    bundle.save(folder, kind="slr.isolated", model=IsolatedSigns(**config), config=config, info=info)


def _encoders(folder: Path) -> dict[str, Any]:
    rgb = load_window_encoder("torchvision:resnet18", weights="random")
    return {"rgb": rgb, "pose": load_window_encoder(f"isolated:{folder / 'islr'}")}


def _write_model(folder: Path) -> None:
    encoders = _encoders(folder)
    streams = [
        {"name": name, "dim": encoder.dim, "alpha": 0.8, "fusion": "mix", "rate_hz": RATE_HZ,
         "encoder_digests": [encoder.digest()], "windows": asdict(WINDOWS)}
        for name, encoder in encoders.items()
    ]  # fmt: skip
    texts = Pieces.train(CAPTIONS, size=60, normaliser=CAPTION_NORMALISER)
    signs = WindowTowerConfig(width=16, num_layers=1, num_heads=2, max_tokens=3)
    words = TextTowerConfig(kind="pieces", width=16, num_layers=1, num_heads=2)
    settings = {
        "dim": 8,
        "signs": {"kind": "windows", **signs.settings([encoder.dim for encoder in encoders.values()])},
        "texts": words.settings(texts),
    }
    torch.manual_seed(0)
    save_model(
        folder / "model", build_dual_encoder(settings), texts, settings=settings,
        info={"streams": streams}, encoders=list(encoders.values()),
    )  # fmt: skip


@pytest.fixture(scope="module")
def index(world: Path) -> Path:
    done = build(Retriever.load(world / "model", device="cpu"), world / "index", read(world / "manifest.jsonl"))
    assert (done.num_done, done.failures) == (3, ())
    assert "stage 1 is" in done.reason
    return world / "index"


def run(*arguments: str) -> int:
    return command.run(lambda standalone_mode: app(list(arguments), standalone_mode=standalone_mode))


def test_a_clip_is_indexed_by_the_streams_that_it_has(world: Path, index: Path) -> None:
    retriever = Retriever.load(world / "model", device="cpu")
    both, video, poses = (retriever.clips.read(clip) for clip in read(world / "manifest.jsonl"))
    dims = [encoder.dim for encoder in _encoders(world).values()]
    assert both.inputs.shape == (3, sum(dims))
    assert both.inputs[:, : dims[0]].any()
    assert both.inputs[:, dims[0] :].any()
    assert not video.inputs[:, dims[0] :].any()
    assert not poses.inputs[:, : dims[0]].any()
    assert both.times == [(0.0, 0.64), (0.08, 0.72), (0.16, 0.8)]
    opened = retriever.open(index)
    hit = retriever.search(opened, "rain in the north", k=3, where={"date": ["2020-01-01"]}).hits[0]
    assert hit.id == "-0"
    assert [match.query for match in hit.matches] == ["rain", "in", "the", "north"]
    assert len(hit.profile) == 3
    assert hit.captions == {"en": "rain in the north"}


def test_cached_features_give_the_index_of_the_files(world: Path, index: Path, tmp_path: Path) -> None:
    clips = list(read(world / "manifest.jsonl"))
    for name, encoder in _encoders(world).items():
        build_features(clips, encoder, tmp_path / name, windows=WINDOWS, rate_hz=RATE_HZ)
    features = [f"{name}={tmp_path / name}" for name in ("rgb", "pose")]
    retriever = Retriever.load(world / "model", device="cpu", features=features)
    assert build(retriever, tmp_path / "index", clips).num_done == 3
    one, other = (retriever.open(place) for place in (index, tmp_path / "index"))
    for clip in clips:
        first, second = (some.tokens(some.row_of(clip.id)) for some in (one, other))  # type: ignore[arg-type]
        np.testing.assert_allclose(first, second, atol=2e-3)
    matrix = score_manifest(world / "model", clips, features=features, device="cpu", quiet=True)
    plain = score_manifest(world / "model", clips, device="cpu", quiet=True)
    np.testing.assert_allclose(matrix.scores, plain.scores, atol=1e-4)
    assert [text.text for text in matrix.texts] == list(CAPTIONS)
    with pytest.raises(UserError, match="this model reads the streams rgb, pose"):
        Retriever.load(world / "model", device="cpu", features=features[:1]).clips.read(clips[0])
    swapped = [f"rgb={tmp_path / 'pose'}", f"pose={tmp_path / 'rgb'}"]
    with pytest.raises(ArtefactError, match="made by other encoders"):
        Retriever.load(world / "model", device="cpu", features=swapped).clips.read(clips[0])


def test_searching_by_a_clip_and_for_captions(
    world: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", str(index), "--video", str(world / "-1.mp4"), "-k", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == "-1"
    assert run("search", str(index), "--video", str(world / "-1.mp4"), "--captions", "--json") == 0
    found = json.loads(capsys.readouterr().out)["captions"]
    assert {row["text"] for row in found} == set(CAPTIONS)
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    narrowed = ("--captions", "--where", "date=2020-03..", "--json")
    assert run("search", str(index), "--video", str(world / "-1.mp4"), *narrowed) == 0
    assert [row["text"] for row in json.loads(capsys.readouterr().out)["captions"]] == ["Schnee im Norden"]
    assert run("search", str(index), "--text", "sun", "--html", str(tmp_path / "page.html"), "-q") == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<video") == 2
    assert page.count("<canvas") == 1
    assert 'data-start="' in page
    assert run("search", str(index), "--text", "sun", "--captions") == 1
    assert "give --video FILE" in capsys.readouterr().err


def test_a_clip_that_no_stream_can_read_is_named(
    world: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = next(iter(read(world / "manifest.jsonl")))
    write(tmp_path / "m.jsonl", [Clip(id="bad", path=str(tmp_path / "bad.mp4"), kind="video"), good])
    assert run("index", "upsert", str(tmp_path / "m.jsonl"), str(index), "-q", "--json") == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out)["failures"][0]["file"].endswith("bad.mp4")
    assert "bad.mp4" in shown.err
    assert run("index", "verify", str(index)) == 0
