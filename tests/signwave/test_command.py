"""Exit codes, one-line errors and progress of the commands."""

import pytest
import typer

from signwave import command
from signwave.errors import MediaError, UserError


def app_raising(error: BaseException | None) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def work(number: int = 1) -> None:
        if error is not None:
            raise error

    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (UserError("bad\ninput"), 1), (KeyboardInterrupt(), 130), (typer.Exit(3), 3)],
)
def test_exit_codes(
    error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["work"])
    assert command.run(app_raising(error)) == code
    if isinstance(error, UserError):
        assert capsys.readouterr().err == "error: bad input\n"


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["work"])
    assert command.run(app_raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to go on\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "out/a.txt"), "out/a.txt: Permission denied; name a file or folder"),
        (IsADirectoryError(21, "Is a directory", ".tmp-x", None, "page"), "page: Is a directory; name a file"),
        (OSError(28, "No space left on device"), "No space left on device; make room and run the same"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["work"])
    assert command.run(app_raising(error)) == 1
    assert capsys.readouterr().err.startswith(f"error: {line}")


def test_an_os_error_about_nothing_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["work"])
    with pytest.raises(OSError, match="odd"):
        command.run(app_raising(OSError("odd")))


def test_wrong_usage_is_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["work", "--number", "many"])
    assert command.run(app_raising(None)) == 2


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["work"])
    with pytest.raises(ZeroDivisionError):
        command.run(app_raising(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("statuses", "code"),
    [([], 0), (["ok", "empty", "skipped"], 0), (["ok", "failed"], 3), (["failed"], 1), (["failed", "failed"], 1)],
)
def test_exit_code_over_inputs(statuses: list[command.Status], code: int) -> None:
    assert command.exit_code(statuses) == code


def test_failure_kinds() -> None:
    assert command.Failure.of("a", MediaError("a", "cut", kind="truncated")).kind == "truncated"
    assert command.Failure.of("a", UserError("x")).kind == "user"


def test_progress_yields_everything_and_says_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert list(command.progress(range(5), "reading")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.splitlines() == ["reading: 1/5, 40 s", "reading: 3/5, 80 s"]


def test_unknown_device() -> None:
    with pytest.raises(UserError, match="--device tpu: unknown; allowed are auto, cpu, cuda"):
        command.pick_device("tpu")
