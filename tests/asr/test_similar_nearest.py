"""The clips of a pool that are closest to a target domain: against sorting all cosines by hand, and on real voices."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray
from safetensors.torch import save_file

from asr.commands import similar
from asr.features import FeatureSettings
from asr.models.speech_ctc import TINY, SpeechCtc
from asr.similar_domain import EncoderMean, SpectrumStatistics
from asr.similar_index import open_clip_index
from asr.similar_nearest import Nearest, nearest_to
from signwave import command, manifest
from signwave.errors import ArtefactError, UserError
from signwave.manifest import Clip
from signwave.media.audio import write_wav

Audio = NDArray[np.float32]
RATE_HZ = 16_000


def coloured_noise(seconds: float, seed: int, *, centre_hz: float) -> Audio:
    """Noise around a frequency, in bursts: a domain that an ear would tell from another one."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(int(seconds * RATE_HZ)))
    hz = np.fft.rfftfreq(int(seconds * RATE_HZ), 1 / RATE_HZ)
    shaped = np.fft.irfft(spectrum * np.exp(-(((hz - centre_hz) / 400) ** 2)), int(seconds * RATE_HZ))
    bursts = np.interp(np.arange(len(shaped)), np.arange(0, len(shaped) + 3200, 1600),
                       rng.uniform(0.1, 1, (len(shaped) + 3200 + 1599) // 1600))  # fmt: skip
    return (0.1 * rng.uniform(0.2, 1) * shaped * bursts / np.abs(shaped).max()).astype(np.float32)


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Clip]:
    def make(name: str, audio: Audio) -> Clip:
        return Clip(id=name, path=str(write_wav(tmp_path / f"{name}.wav", audio)), kind="audio")

    return make


@pytest.fixture
def two_domains(clip: Callable[..., Clip]) -> tuple[list[Clip], list[Clip]]:
    """A pool of low (l…) and high (h…) noises, and a reference of high ones."""
    pool = [clip(f"{'lh'[n % 2]}{n}", coloured_noise(1 + n / 10, n, centre_hz=(700, 3000)[n % 2])) for n in range(10)]
    return pool, [clip(f"ref{n}", coloured_noise(1.0, 100 + n, centre_hz=3000)) for n in range(4)]


def nearest(pool: list[Clip], reference: list[Clip], **options: object) -> Nearest:
    with open_clip_index(None, SpectrumStatistics(), metric="inner_product") as index:
        return nearest_to(index, pool, reference, **options)  # type: ignore[arg-type]


def vector_of(clip: Clip) -> NDArray[np.float64]:
    from signwave.media.audio import read_audio

    (window,) = SpectrumStatistics().windows([read_audio(clip.path)])
    return window.vector.astype(np.float64)


def test_scores_are_what_sorting_all_cosines_gives(two_domains: tuple[list[Clip], list[Clip]]) -> None:
    pool, reference = two_domains
    found = nearest(pool, reference, k=5, num_nearest=3)
    rows = np.array([vector_of(clip) for clip in (*pool, *reference)])
    rows = (rows - rows.mean(0)) / rows.std(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = {clip.id: rows[place] @ rows[len(pool) :].T for place, clip in enumerate(pool)}
    for choice in found.choices:
        expected = np.sort(cosines[choice.id])[::-1]
        assert choice.score == pytest.approx(expected[:3].mean(), abs=1e-5)
        assert choice.best_score == pytest.approx(expected[0], abs=1e-5)
        assert choice.nearest_id == reference[int(cosines[choice.id].argmax())].id
    assert [choice.score for choice in found.choices] == sorted((c.score for c in found.choices), reverse=True)
    assert {clip.id[0] for clip in found.clips} == {"h"}
    assert [choice.is_chosen for choice in found.choices] == [True] * 5 + [False] * 5


def test_hours_are_not_exceeded_but_filled(two_domains: tuple[list[Clip], list[Clip]]) -> None:
    pool, reference = two_domains
    found = nearest(pool, reference, num_hours=4.5 / 3600)
    chosen = [choice.seconds for choice in found.choices if choice.is_chosen]
    assert sum(chosen) <= 4.5
    left = [choice.seconds for choice in found.choices if not choice.is_chosen]
    assert sum(chosen) + min(left) > 4.5
    assert len(found.choices) == len(pool)  # every score is kept
    assert nearest(pool, reference, num_hours=0).clips == []


def test_level_and_order_do_not_matter(two_domains: tuple[list[Clip], list[Clip]], clip: Callable[..., Clip]) -> None:
    from signwave.media.audio import read_audio

    pool, reference = two_domains
    quiet = [clip(f"quiet-{c.id}", 0.25 * read_audio(c.path)) for c in reference]
    first = {choice.id: choice.score for choice in nearest(pool, reference, k=1).choices}
    second = {choice.id: choice.score for choice in nearest(pool[::-1], quiet[::-1], k=1).choices}
    assert first.keys() == second.keys()
    for name, score in first.items():
        assert second[name] == pytest.approx(score, abs=0.02)


def test_a_kept_index_gives_the_same_answer(two_domains: tuple[list[Clip], list[Clip]], tmp_path: Path) -> None:
    pool, reference = two_domains
    expected = nearest(pool, reference, k=3).choices
    for some in (pool[:4], pool):
        with open_clip_index(tmp_path / "index", SpectrumStatistics(), metric="inner_product") as index:
            found = nearest_to(index, some, reference, k=3)
    assert found.choices == expected
    assert (found.pool.num_new, found.reference.num_new) == (6, 0)


def test_what_can_not_be_heard_is_left_out(
    two_domains: tuple[list[Clip], list[Clip]], clip: Callable[..., Clip]
) -> None:
    pool, reference = two_domains
    silent, gone = clip("silent", np.zeros(RATE_HZ, np.float32)), Clip(id="gone", path="gone.wav", kind="audio")
    found = nearest([silent, *pool, gone], reference, k=100)
    assert {choice.id for choice in found.choices} == {clip.id for clip in pool}
    assert (found.pool.silent, [failure.kind for failure in found.pool.failures]) == (["silent"], ["missing"])
    with pytest.raises(UserError, match=r"gone\.wav"):
        nearest(pool, [gone], k=1)
    with pytest.raises(UserError, match="they are silent"):
        nearest(pool, [silent], k=1)
    assert nearest([silent], reference, k=1).choices == []
    with pytest.raises(UserError, match="either"):
        nearest(pool, reference)


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "donor"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY))
    encoder = SpeechCtc(vocab_size=2, encoder_config=TINY).encoder.encoder
    save_file(
        {f"model.encoder.{name}": value for name, value in encoder.state_dict().items()}, folder / "model.safetensors"
    )
    return folder


def test_the_mean_of_an_encoder(donor: Path) -> None:
    embedder = EncoderMean.load(donor)
    audio = coloured_noise(1.5, 0, centre_hz=1000)
    (window,) = embedder.windows([audio])
    from asr.features import extract

    features = extract(audio, FeatureSettings("log_mel", 80))
    with torch.inference_mode():
        hidden, steps = embedder.model.encode(features[None], torch.tensor([len(features)]))
    np.testing.assert_allclose(window.vector, hidden[0, : int(steps[0])].mean(0).numpy(), atol=1e-5)
    assert (window.end_seconds, embedder.dim, embedder.has_tokens) == (1.5, 32, False)
    long = np.tile(audio, 20)
    (pieces,) = embedder.windows([long[: 20 * RATE_HZ], long[20 * RATE_HZ :]])
    assert pieces.end_seconds == 30.0
    assert embedder.windows([np.zeros(RATE_HZ, np.float32)]) == []


def test_vectors_of_another_encoder_are_refused(donor: Path, two_domains: tuple[list[Clip], list[Clip]]) -> None:
    pool, _ = two_domains
    index = donor.parent / "index"
    with open_clip_index(index, EncoderMean.load(donor), metric="inner_product") as opened:
        assert opened.embed(pool).num_new == 10
    with pytest.raises(ArtefactError, match="encoder-"), open_clip_index(index, SpectrumStatistics()):
        pass


def run_command(*arguments: str) -> int:
    app = typer.Typer()
    app.command()(similar.nearest)
    return command.run(lambda **options: app(list(arguments), **options))


def test_the_command(
    two_domains: tuple[list[Clip], list[Clip]], donor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, reference = two_domains
    manifest.write(tmp_path / "pool.jsonl", pool)
    manifest.write(tmp_path / "reference.jsonl", reference)
    (tmp_path / "out").mkdir()
    sides = [str(tmp_path / "pool.jsonl"), str(tmp_path / "reference.jsonl")]
    out = tmp_path / "out" / "chosen.jsonl.gz"
    assert run_command(*sides, "--out", str(out), "-k", "3", "-q", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["num_chosen"], document["scores"]) == (3, str(tmp_path / "out" / "chosen.scores.tsv"))
    chosen = list(manifest.read(out))
    assert [Path(clip.path).exists() for clip in chosen] == [True] * 3
    with open(document["scores"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["id"] for row in rows if row["is_chosen"] == "True"] == [clip.id for clip in chosen]
    assert len(rows) == len(pool)
    options = ["--encoder", str(donor), "--device", "cpu", "-q", "--scores", str(tmp_path / "s.tsv")]
    assert run_command(*sides, "--out", str(out), "--hours", "0.001", *options) == 0
    assert (tmp_path / "s.tsv").exists()
    assert run_command(*sides, "--out", str(out)) == 1
    assert run_command(*sides, "--out", str(out), "-k", "1", "--encoder", str(tmp_path / "no")) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_real_voices(shared_data: Path) -> None:
    """Takes of a speaker's digits of half a second find the same speaker's other digits far above chance, a sixth."""
    folder = shared_data / "speech/free_spoken_digit_dataset/recordings"
    speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

    def clips(who: str, digits: range) -> list[Clip]:
        files = [folder / f"{digit}_{who}_{take}.wav" for digit in digits for take in (5, 6, 7)]
        return [Clip(id=path.stem, path=str(path), kind="audio", person=who) for path in files]

    pool = [clip for who in speakers for clip in clips(who, range(5))]
    right = 0
    with open_clip_index(None, SpectrumStatistics(), metric="inner_product") as index:
        for who in speakers:
            found = nearest_to(index, pool, clips(who, range(5, 10)), k=15)
            right += sum(clip.person == who for clip in found.clips)
    assert right >= 0.45 * 15 * len(speakers)
