"""Errors that are the user's to mend: the commands print them as one line and exit 1."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Literal

MediaErrorKind = Literal["missing", "refused", "empty", "unreadable", "truncated", "no_stream", "too_large"]


class UserError(Exception):
    """Something outside the program is wrong. The message says what was given, what is allowed and what to do."""


class ConfigError(UserError):
    """A setting is wrong; the message names the file or argument that set it."""


class ManifestError(UserError):
    """A manifest row is wrong; the message starts with file:line."""


class LabelError(UserError):
    """A label can't be used: unknown token, id out of range, or longer than its clip allows."""


class ArtefactError(UserError):
    """A bundle, checkpoint or index is damaged, incomplete or made by something else."""


class MediaError(UserError):
    """A media file can't be used.

    Attributes:
        path: the file as it was given.
        kind: what is wrong, one of MediaErrorKind.
        frames_obtained: frames or samples decoded before it failed, if any were counted.
        frames_announced: frames or samples the container claims, if it says.
    """

    def __init__(
        self,
        path: str | Path,
        reason: str,
        *,
        frames_obtained: int | None = None,
        frames_announced: int | None = None,
        kind: MediaErrorKind = "unreadable",
    ) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason
        self.kind: MediaErrorKind = kind
        self.frames_obtained = frames_obtained
        self.frames_announced = frames_announced

    def __reduce__(self) -> tuple[object, ...]:
        # Crosses process borders (loader workers); the default would call __init__ with the joined message only.
        return _rebuild_media_error, (self.path, self.reason, self.frames_obtained, self.frames_announced, self.kind)


def _rebuild_media_error(
    path: str, reason: str, obtained: int | None, announced: int | None, kind: MediaErrorKind
) -> MediaError:
    return MediaError(path, reason, frames_obtained=obtained, frames_announced=announced, kind=kind)


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: dotted name to import.
        extra: the extra of this distribution that brings it.

    Raises:
        UserError: the package isn't installed; the message is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"the package '{module}' is not installed ({error}); run: pip install 'signwave[{extra}]'"
        ) from error
