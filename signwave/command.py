"""What the commands share: one-line errors, exit codes, records, progress.

Exit codes: 0 done (also an empty result), 1 could not, 2 wrong usage, 3 some inputs failed, 130 interrupted.
"""

import errno
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from signwave.errors import MediaError, UserError

T = TypeVar("T")

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
_LINE_EVERY_SECONDS = 30.0
_INTERRUPTED = "interrupted; run the same command again to go on"

Status = Literal["ok", "empty", "skipped", "failed"]


@dataclass(frozen=True)
class Failure:
    """Why one input failed."""

    file: str
    kind: str
    message: str

    @classmethod
    def of(cls, file: str, error: UserError) -> "Failure":
        """The failure that an error stands for."""
        kind = error.kind if isinstance(error, MediaError) else type(error).__name__.removesuffix("Error").lower()
        return cls(file=file, kind=kind, message=str(error))


def exit_code(statuses: Sequence[Status]) -> int:
    """Exit code for a run over several inputs: 3 when some failed and some did not, 1 when none was done."""
    failed = sum(status == "failed" for status in statuses)
    if failed == 0:
        return EXIT_DONE
    return EXIT_FAILED if failed == len(statuses) else EXIT_SOME_FAILED


def run(app: Callable[..., Any]) -> int:
    """Run a Typer app and return its exit code.

    A `UserError` is one line, and so is a file or folder that the system won't give; a traceback means a bug.
    """
    import typer

    # Typer carries its own copy of click and exports only the leaves of its error family.
    family = (base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
    usage_error = cast(type[Exception], next(family))
    try:
        result = app(standalone_mode=False)
    except UserError as error:
        return fail(str(error))
    except usage_error as error:
        error.show()  # type: ignore[attr-defined]
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        say(_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout (head, say) left; closing quietly avoids a second error at interpreter exit.
        sys.stderr.close()
        return EXIT_DONE
    except OSError as error:
        return fail(os_error_text(error))
    if result == EXIT_INTERRUPTED:  # Typer turns a KeyboardInterrupt into this code and says nothing
        say(_INTERRUPTED)
    return result if isinstance(result, int) else EXIT_DONE


def os_error_text(error: OSError) -> str:
    """What the system refused, for people.

    Raises:
        OSError: the error given, where it is about no file and no full disk, so that nobody could mend it.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}; make room and run the same command again"
    if error.filename is None:
        raise error
    name = error.filename2 or error.filename
    return f"{name}: {error.strerror}; name a file or folder that can be used, or change its permissions"


def fail(message: str) -> int:
    """Print one error line and return exit code 1."""
    say(f"error: {' '.join(message.split())}")
    return EXIT_FAILED


def say(message: str) -> None:
    """A line for people, on stderr: stdout belongs to results."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def setup_logging(*, verbosity: int = 0) -> None:
    """Log to stderr: warnings by default, INFO with -v, DEBUG with -vv, errors only with -q (verbosity -1)."""
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    level = levels.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)


def progress(items: Iterable[T], description: str, *, total: int | None = None, quiet: bool = False) -> Iterator[T]:
    """Yield the items while showing a bar on a terminal, or a line every 30 s elsewhere; always on stderr."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if quiet:
        yield from items
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description, total=total, console=Console(stderr=True), transient=True)
    else:
        yield from _lines(items, description, total)


def _lines(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    started = last = time.monotonic()
    for num_done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= _LINE_EVERY_SECONDS:
            last = now
            of = f"/{total}" if total else ""
            say(f"{description}: {num_done}{of}, {now - started:.0f} s")
        yield item


@contextmanager
def step(description: str) -> Iterator[None]:
    """Say what starts and how long it took."""
    say(f"{description} …")
    started = time.monotonic()
    yield
    say(f"{description}: done in {time.monotonic() - started:.1f} s")


def pick_device(name: str) -> str:
    """Resolve --device auto|cpu|cuda|cuda:N.

    Raises:
        UserError: a GPU was asked for and there is none, or the name is unknown.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "cuda" or (name.startswith("cuda:") and name[5:].isdigit()):
        if not torch.cuda.is_available():
            raise UserError(f"--device {name}: torch sees no GPU on this machine; use --device cpu or auto")
        return name
    raise UserError(f"--device {name}: unknown; allowed are auto, cpu, cuda, cuda:N")
