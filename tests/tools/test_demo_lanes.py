"""The demo's runner: steps in lanes, logs, optional failures, and a failure that stops everything."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def lanes(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lanes", repository / "tools" / "demo" / "lanes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lanes"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lanes_run_side_by_side_and_steps_in_order(lanes: ModuleType, tmp_path: Path) -> None:
    # Each first step waits for the other lane's: one after the other they would never end.
    wait = (
        "import pathlib, time\npathlib.Path({mine!r}).touch()\n"
        "while not pathlib.Path({other!r}).exists(): time.sleep(.01)"
    )
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    first = lanes.Step("first", lambda: python(wait.format(mine=a, other=b)))
    second = lanes.Step("second", lambda: python(wait.format(mine=b, other=a)))
    after = lanes.Step("after", lambda: python(f"import pathlib; assert pathlib.Path({a!r}).exists(); print('said')"))
    made = lanes.Lanes(tmp_path)
    made.run({"one": [first, after], "two": [second]})
    assert sorted((o.name, o.state) for o in made.outcomes) == [
        ("after", "done"),
        ("first", "done"),
        ("second", "done"),
    ]
    assert (tmp_path / "logs" / "after.log").read_text() == "said\n"


def test_optional_failure_goes_on_and_a_step_may_be_skipped(lanes: ModuleType, tmp_path: Path) -> None:
    steps = [
        lanes.Step("fails", lambda: python("import sys; print('no network'); sys.exit(1)"), optional=True),
        lanes.Step("skipped", lambda: python("1/0"), when=lambda: False),
        lanes.Step("some failed", lambda: python("import sys; sys.exit(3)"), accept=(3,)),
    ]
    made = lanes.Lanes(tmp_path)
    made.run({"one": steps})
    assert [(o.name, o.state, o.message) for o in made.outcomes] == [
        ("fails", "failed", "no network"),
        ("skipped", "skipped", ""),
        ("some failed", "done", ""),
    ]


def test_a_failure_stops_the_other_lane_and_says_where_to_look(lanes: ModuleType, tmp_path: Path) -> None:
    made = lanes.Lanes(tmp_path)
    with pytest.raises(lanes.StepFailed, match=r"breaks: last words\n  command: .*\n  whole output: .*breaks\.log"):
        made.run(
            {
                "one": [lanes.Step("breaks", lambda: python("import sys; print('last words'); sys.exit(1)"))],
                "two": [lanes.Step("long", lambda: python("import time; time.sleep(600)"))],
            }
        )
    assert all(process.poll() is not None for process in made._processes)
