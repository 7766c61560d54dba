"""A decoder that dies, hangs or eats memory costs one file, not the job."""

import os
import signal
import time
from pathlib import Path

import pytest

from signwave.errors import MediaError
from signwave.media.isolated import call_isolated
from signwave.media.video import count_frames
from signwave.testing.corruption import make_set


def crash(path: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(path: str) -> None:
    os._exit(7)


def hang(path: str) -> None:
    time.sleep(60)


def devour(path: str) -> int:
    return len(bytearray(8 * 2**30))


def stumble(path: str) -> None:
    raise KeyError("a bug")


def misuse(path: str) -> None:
    raise ValueError("wrong argument")


def test_results_and_errors_come_back(tmp_path: Path) -> None:
    cases = make_set(tmp_path)
    assert call_isolated(count_frames, cases["good.mp4"].path, timeout_seconds=60) == 500
    with pytest.raises(MediaError, match="5 of 500 frames") as caught:
        call_isolated(count_frames, cases["moov_flips.mp4"].path, timeout_seconds=60)
    assert (caught.value.kind, caught.value.frames_obtained, caught.value.frames_announced) == ("truncated", 5, 500)
    assert call_isolated(count_frames, cases["moov_flips.mp4"].path, timeout_seconds=60, on_short="keep") == 5


@pytest.mark.parametrize(
    ("function", "text"), [(crash, r"a\.mp4: the decoder crashed on it \(signal SIGSEGV\)"), (leave, "exit code 7")]
)
def test_death(function: object, text: str) -> None:
    with pytest.raises(MediaError, match=text):
        call_isolated(function, "a.mp4", timeout_seconds=60)  # type: ignore[arg-type]


def test_hanging() -> None:
    with pytest.raises(MediaError, match=r"longer than 0\.5 s and was ended"):
        call_isolated(hang, "a.mp4", timeout_seconds=0.5)


def test_memory() -> None:
    with pytest.raises(MediaError, match="more memory") as caught:
        call_isolated(devour, "a.mp4", timeout_seconds=60, max_memory_bytes=4 * 2**30)
    assert caught.value.kind == "too_large"


def test_bugs_stay_bugs() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        call_isolated(stumble, "a.mp4", timeout_seconds=60)
    with pytest.raises(ValueError, match="wrong argument"):
        call_isolated(misuse, "a.mp4", timeout_seconds=60)
    with pytest.raises(ValueError, match="timeout_seconds"):
        call_isolated(misuse, "a.mp4", timeout_seconds=0)
