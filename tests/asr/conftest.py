"""A speech model that a test can speak to: the level of a 20 ms step says which token it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.infer import Recognizer
from signwave.text import BLANK_TOKEN, SPACE_TOKEN, Vocabulary
from signwave.transcript import ModelName

STEP_SAMPLES = 320
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class ToneModel:
    """Token i sounds like a step at level i / 40; silence is the blank."""

    stride_seconds = 0.02
    language = "en"

    def __init__(self) -> None:
        self.vocabulary = Vocabulary((BLANK_TOKEN, *LETTERS, SPACE_TOKEN), "char")
        self.batches: list[list[int]] = []

    def log_probs(self, audio_batch: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        self.batches.append([len(audio) for audio in audio_batch])
        num_steps = torch.tensor([len(audio) // STEP_SAMPLES for audio in audio_batch])
        logits = torch.zeros(len(audio_batch), int(num_steps.max()), self.vocabulary.size)
        for item, audio in enumerate(audio_batch):
            steps = audio[: int(num_steps[item]) * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
            tokens = np.clip(np.round(steps.mean(1) * 40), 0, self.vocabulary.size - 1).astype(int)
            logits[item, torch.arange(len(tokens)), torch.from_numpy(tokens)] = 8.0
        return logits.log_softmax(-1), num_steps


def speak_text(text: str, *, steps_per_token: int = 3, pause_steps: int = 2) -> NDArray[np.float32]:
    levels = []
    for char in text:
        token = 27 if char == " " else LETTERS.index(char) + 1
        levels += [token / 40] * steps_per_token + [0.0] * pause_steps
    return np.repeat(np.array(levels, np.float32), STEP_SAMPLES)


@pytest.fixture
def tone_model() -> ToneModel:
    return ToneModel()


@pytest.fixture
def speak() -> Callable[..., NDArray[np.float32]]:
    """The audio of a text in which nothing but letters and spaces occurs."""
    return speak_text


@pytest.fixture
def say_to(tmp_path: Path) -> Callable[..., Path]:
    """Write the audio of a text below tmp_path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speak_text(text), 16_000, subtype="PCM_16")
        return path

    return write


@pytest.fixture
def tone_recognizer(tone_model: ToneModel, monkeypatch: pytest.MonkeyPatch) -> Recognizer:
    """What `Recognizer.load` gives in this test, whatever is asked for."""
    recognizer = Recognizer(tone_model, name=ModelName("tone", "0" * 64), batch_size=1)
    monkeypatch.setattr(Recognizer, "load", lambda *_, **__: recognizer)
    return recognizer
