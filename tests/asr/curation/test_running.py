"""The same callable in a loop, in processes and on Ray; a process that dies costs the row that killed it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.curation.measuring import Measure
from asr.curation.running import JsonRows, run_here, run_in_processes, run_on_ray
from asr.curation.settings import MeasureSettings
from signwave.errors import UserError

Audio = NDArray[np.float32]
HERE = Path(__file__).parent


@pytest.fixture
def rows(raw: Callable[..., Path], babble: Callable[..., Audio], pause: Callable[..., Audio]) -> list[dict[str, Any]]:
    paths = [raw(f"{seed}.wav", pause(1.0), babble(3.0, seed), pause(2.0)) for seed in range(3)]
    bad = paths[0].with_name("bad.wav")
    bad.write_bytes(b"RIFF\x00\x00")
    return [{"file": path.name, "path": str(path)} for path in (*paths, bad)]


def sorted_rows(found: Any) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: str(row["file"]))


def test_processes_give_what_a_loop_gives(rows: list[dict[str, Any]]) -> None:
    function = Measure(MeasureSettings(voice="energy"))
    wanted = sorted_rows(run_here(function, rows))
    assert [len(row["segments"]) for row in wanted] == [1, 1, 1, 0]
    assert wanted[3]["failure"]["kind"] == "unreadable"
    assert sorted_rows(run_in_processes(function, rows, num_workers=2)) == wanted


def test_a_row_that_kills_its_process_fails_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    from hooks_of_a_user import row_or_death  # type: ignore[import-not-found]

    names = ["a", "b", "deadly", *"cdefgh"]
    given = [{"file": name, "path": name, "folder": str(tmp_path)} for name in names]
    found = {row["file"]: row for row in run_in_processes(row_or_death, given, num_workers=1)}
    assert sorted(found) == sorted(names)
    assert found.pop("deadly")["failure"]["kind"] == "crashed"
    assert all(row["failure"] is None for row in found.values())


def test_no_rows_are_no_work() -> None:
    assert list(run_in_processes(Measure(), [], num_workers=2)) == []


def test_the_callable_for_ray_is_a_plain_one(rows: list[dict[str, Any]]) -> None:
    function = Measure(MeasureSettings(voice="energy"))
    answer = JsonRows(function)({"json": json.dumps(rows[0])})
    assert json.loads(answer["json"]) == function(rows[0])


def test_ray_gives_what_a_loop_gives(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", object_store_memory=100 * 2**20)
    try:
        function = Measure(MeasureSettings(voice="energy"))
        assert sorted_rows(run_on_ray(function, rows)) == sorted_rows(run_here(function, rows))
    finally:
        ray.shutdown()


def test_without_ray_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'ray\[data\]'"):
        list(run_on_ray(Measure(), [{"path": "a"}]))
