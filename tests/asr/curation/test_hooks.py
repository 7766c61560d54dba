"""Hooks are imported by name; whatever is wrong with one is said in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr.curation.hooks import call_hook, load_hook
from signwave.errors import UserError

SAMPLES = np.full(16_000, 0.5, dtype=np.float32)


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    load_hook.cache_clear()


def test_numbers_come_back_by_name() -> None:
    assert call_hook("hooks_of_a_user:language", SAMPLES, 16_000) == {"fa": 0.9, "ar": 0.1}
    assert call_hook("hooks_of_a_user:kinds", SAMPLES[:5333], 16_000)["seconds"] == 0.3333


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hooks_of_a_user", "expected module:function"),
        ("no_such_module:f", "can't be imported"),
        ("hooks_of_a_user:missing", "has no function missing"),
        ("hooks_of_a_user:broken", "failed: RuntimeError: no such model"),
        ("hooks_of_a_user:words", "must return numbers by name, got 'music'"),
        ("hooks_of_a_user:endless", "finite"),
    ],
)
def test_what_is_wrong_with_a_hook_is_said(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call_hook(name, SAMPLES, 16_000)
