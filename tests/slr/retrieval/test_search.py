"""Index and search end to end on made-up clips and an untrained model: what comes back, and what goes wrong how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray

from signwave import command
from signwave.errors import ArtefactError, ManifestError, MediaError, UserError
from signwave.manifest import Clip
from signwave.manifest import write as write_manifest
from slr.commands import index as index_cli
from slr.commands import search as search_cli
from slr.datasets.fingerspelled_concepts import QUERY_NORMALISER
from slr.datasets.performances import write_hands
from slr.keypoints.hands import read_hands
from slr.models.dual_encoder import Embedded
from slr.models.towers import DualEncoderConfig, build_dual_encoder
from slr.retrieval.clip_reading import ReadClip
from slr.retrieval.evaluation.evaluate import evaluate_index
from slr.retrieval.search import indexing
from slr.retrieval.search import page as search_page
from slr.retrieval.search.media_query import clip_of
from slr.retrieval.search.retriever import Retriever
from slr.retrieval.similarity import exact_scores
from slr.retrieval.stored import save_model
from slr.retrieval.text_config import character_vocabulary
from slr.retrieval.texts import Characters

pytest.importorskip("pose_format")
WORDS = ("house", "Haus", "بيت", "fog", "Nebel", "river")
RATE_HZ = 12.5


def wave(num_frames: int, seed: int) -> NDArray[np.float32]:
    """(T, 42, 3) float32, a made-up hand that moves; the other hand is seen in even seeds."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=(1, 42, 3)) * 0.1 + np.linspace(0, 1, num_frames)[:, None, None] * rng.normal(size=3) * 0.2
    shape[:, 21:] *= 1 - seed % 2
    return shape.astype(np.float32)


def export_model(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = DualEncoderConfig(dim=16, sign_dim=16, text_dim=16, num_heads=2, num_halvings=1, num_extra_tokens=2)
    texts = Characters(QUERY_NORMALISER, character_vocabulary(WORDS, QUERY_NORMALISER))
    settings = config.settings(num_characters=texts.size)
    save_model(folder / "bundle", build_dual_encoder(settings), texts, settings=settings, info={"rate_hz": RATE_HZ})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(tmp_path_factory.mktemp("runs") / "model")


def write_clips(folder: Path, words: Sequence[str] = WORDS) -> Path:
    (folder / "clips").mkdir(parents=True)
    clips = []
    for number, word in enumerate(words):
        write_hands(folder / f"clips/{number}.pose", wave(10 + 3 * number, number), rate_hz=RATE_HZ)
        group = "home" if number < 3 else word
        clip = Clip(
            id=f"-{number}", path=f"clips/{number}.pose", kind="pose", text=word, group=group, captions={"en": word}
        )
        clips.append(clip)
    write_manifest(folder / "manifest.jsonl", clips)
    return folder / "manifest.jsonl"


def run(*arguments: str) -> int:
    app = typer.Typer()
    app.add_typer(index_cli.index_app, name="index")
    app.command("search")(search_cli.search)
    return command.run(lambda standalone_mode: app(list(arguments), standalone_mode=standalone_mode))


def embed(retriever: Retriever, clips: Sequence[NDArray[np.float32]]) -> Embedded:
    return retriever.embed_clips([ReadClip(hands.reshape(len(hands), -1), [], 0.0) for hands in clips])


@pytest.fixture
def built(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    manifest = write_clips(tmp_path / "data")
    assert run("index", "build", str(manifest), str(tmp_path / "index"), "--model", str(model), "-q") == 0
    capsys.readouterr()
    return tmp_path / "index"


@pytest.mark.parametrize("seed", [1, 2])
def test_written_hands_are_read_again(tmp_path: Path, seed: int) -> None:
    hands = wave(20, seed)
    write_hands(tmp_path / "a.pose", hands, rate_hz=RATE_HZ)
    again = read_hands(tmp_path / "a.pose", rate_hz=RATE_HZ)
    assert again.shape == hands.shape
    np.testing.assert_allclose(again[..., :2], hands[..., :2], atol=1e-4)
    wrists = hands.reshape(20, 2, 21, 3)[:, :, :1, 2:]
    depth = (hands.reshape(20, 2, 21, 3)[..., 2:] - wrists).reshape(20, 42)
    np.testing.assert_allclose(again[..., 2], depth, atol=1e-4)


def test_hits_have_the_exact_score_and_lie_inside_their_clip(built: Path, model: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    index = retriever.open(built)
    answer = retriever.search(index, "Haus", k=4)
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
    clips = [read_hands(built.parent / f"data/clips/{n}.pose", rate_hz=RATE_HZ) for n in range(len(WORDS))]
    exact = exact_scores(retriever.embed_texts(["haus"]), embed(retriever, clips))[0]
    assert [hit.id for hit in answer.hits] == [f"-{n}" for n in np.argsort(-exact)[:4]]
    for hit in answer.hits:
        number = int(hit.id[1:])
        assert hit.score == pytest.approx(float(exact[number]), abs=2e-3)  # tokens are kept in half precision
        assert Path(hit.path).samefile(built.parent / f"data/clips/{number}.pose")
        assert [match.query for match in hit.matches] == list("haus")
        assert 0 <= hit.start_seconds < hit.end_seconds <= len(clips[number]) / RATE_HZ + 1e-6
        assert hit.start_seconds == min(match.start_seconds for match in hit.matches)


def test_matches_are_the_most_similar_signs(built: Path, model: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    hit = retriever.search(retriever.open(built), "fog", k=1).hits[0]
    hands = read_hands(hit.path, rate_hz=RATE_HZ)
    signs, texts = embed(retriever, [hands]), retriever.embed_texts(["fog"])
    cosines = signs.tokens[0] @ texts.tokens[0, -len("fog") :].T  # the learned tokens come first
    for place, match in enumerate(hit.matches):
        best = int(cosines[:, place].argmax())
        assert match.start_seconds == pytest.approx(best * 2 / RATE_HZ, abs=1e-3)
        assert match.similarity == pytest.approx(float(cosines[best, place]), abs=2e-3)


def test_a_clip_finds_itself(built: Path, model: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    answer = retriever.search_clip(retriever.open(built), clip_of(str(built.parent / "data/clips/4.pose")), k=2)
    assert answer.hits[0].id == "-4"
    assert answer.hits[0].matches[0].query == "0.00-0.16 s"
    with pytest.raises(MediaError, match="is a video without keypoints"):
        retriever.search_clip(retriever.open(built), clip_of("film.mp4"))


def test_unknown_characters_warn_and_an_empty_query_is_an_error(built: Path, model: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    index = retriever.open(built)
    answer = retriever.search(index, "hauß 家!", k=2)
    assert len(answer.hits) == 2
    assert answer.warnings == ("the model has never seen 家; it passes over what it doesn't know",)
    assert [match.query for match in retriever.search(index, "家", k=1).hits[0].matches] == ["家"]
    for empty in ("", "  ", "?!"):
        with pytest.raises(UserError, match="holds no letter or digit"):
            retriever.search(index, empty)


def test_json_of_the_command(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", str(built), "--text", "بيت", "-k", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["query"] == "بيت"
    assert len(found["hits"]) == 3
    assert set(found["hits"][0]) >= {"id", "score", "path", "start_seconds", "end_seconds", "matches"}
    assert [match["query"] for match in found["hits"][0]["matches"]] == list("بيت")


def test_page_plays_hits_and_says_which_file_is_gone(built: Path, model: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    (built.parent / "data/clips/0.pose").unlink()
    answer = retriever.search(retriever.open(built), "بيت", k=len(WORDS))
    search_page.write(tmp_path / "page.html", answer)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<bdi dir="rtl">بيت</bdi>' in page
    assert page.count("<canvas") == len(WORDS) - 1
    assert "0.pose: " in page
    assert "http" not in page
    blob = page.split('id="hit1">')[1].split("</script>")[0] if 'id="hit1">' in page else page.split('id="hit0">')[1]
    frames = json.loads(blob.split("</script>")[0])
    assert {len(frame) for frame in frames["frames"]} <= {42, 84}
    assert all(0 <= value <= 180 for frame in frames["frames"] for value in frame)
    assert 0 <= frames["first"] < len(frames["frames"])


def test_bad_clips_are_named_and_the_rest_is_done(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_clips(tmp_path / "data")
    (tmp_path / "data/clips/1.pose").write_bytes(b"no pose")
    (tmp_path / "data/clips/2.pose").unlink()
    assert run("index", "build", str(manifest), str(tmp_path / "index"), "--model", str(model), "-q", "--json") == 3
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report["num_done"] == len(WORDS) - 2
    assert [Path(failure["file"]).name for failure in report["failures"]] == ["1.pose", "2.pose"]
    assert "1.pose" in shown.err
    assert run("index", "verify", str(tmp_path / "index")) == 0


def test_nothing_readable_and_doubled_ids_are_errors(tmp_path: Path, model: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    gone = Clip(id="a", path=str(tmp_path / "gone.pose"), kind="pose")
    with pytest.raises(UserError, match=r"none of 1 clips could be indexed; the first: .*gone\.pose"):
        indexing.build(retriever, tmp_path / "index", [gone])
    with pytest.raises(ManifestError, match="the id 'a' is there twice"):
        indexing.build(retriever, tmp_path / "index", [gone, gone])
    video = Clip(id="b", path="b.mp4", kind="video")
    with pytest.raises(UserError, match="is a video without keypoints, and this model reads poses"):
        indexing.build(retriever, tmp_path / "index", [video])


def test_add_delete_and_info(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = write_clips(tmp_path / "more", ["sky"])
    assert run("index", "add", str(more), str(built), "-q") == 1
    assert "'-0'" in capsys.readouterr().err
    assert run("index", "upsert", str(more), str(built), "-q", "--tag", "corpus=more") == 0
    capsys.readouterr()
    assert run("search", str(built), "--text", "sky", "--where", "corpus=more", "--json") == 0
    assert [hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]] == ["-0"]
    assert run("index", "info", str(built), "--json") == 0
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("{") :])["n"] == len(WORDS)
    assert run("index", "delete", str(built), "--", "-0", "-5") == 0
    assert "2 deleted" in capsys.readouterr().out
    assert run("index", "compact", str(built)) == 0
    assert run("index", "verify", str(built)) == 0
    capsys.readouterr()
    assert run("index", "delete", str(built), "nobody") == 1
    assert "are not in the index" in capsys.readouterr().err
    assert run("search", str(built), "--text", "sky", "-k", "99", "--json") == 0
    assert "-0" not in [hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]]


def test_another_model_is_refused(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = export_model(tmp_path / "other", seed=1)
    assert run("search", str(built), "--text", "fog", "--model", str(other)) == 1
    assert "its vectors were made by the model" in capsys.readouterr().err


def test_a_model_that_moved_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = export_model(tmp_path / "model")
    manifest = write_clips(tmp_path / "data")
    assert run("index", "build", str(manifest), str(tmp_path / "index"), "--model", str(model), "-q") == 0
    model.rename(tmp_path / "moved")
    assert run("search", str(tmp_path / "index"), "--text", "fog") == 1
    assert "name the model's run folder with --model" in capsys.readouterr().err
    assert run("search", str(tmp_path / "index"), "--text", "fog", "--model", str(tmp_path / "moved")) == 0


def test_usage_errors(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", str(built)) == 1
    assert "give either --text WORDS or --video FILE" in capsys.readouterr().err
    assert run("search", str(built), "--text", "a", "-k", "0") == 2


def test_another_kind_of_bundle_is_named(tmp_path: Path) -> None:
    from signwave import bundle

    bundle.save(tmp_path / "b", kind="slr.pose_conv", model=torch.nn.Linear(1, 1), config={})
    with pytest.raises(ArtefactError, match=r"a model of kind 'slr.pose_conv', search needs 'slr.dual_encoder'"):
        Retriever.load(tmp_path / "b", device="cpu")


def test_evaluation_asks_for_every_caption(built: Path, model: Path) -> None:
    retriever = Retriever.load(model, device="cpu")
    figures = evaluate_index(retriever, retriever.open(built))
    assert figures["num_clips"] == len(WORDS)
    assert figures["num_queries"] == 4  # the last caption of a group counts
    assert figures["recall_at_10"] == 1.0
    assert figures["chance_at_1"] == pytest.approx((3 + 1 + 1 + 1) / 4 / 6)
