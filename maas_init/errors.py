"""What can go wrong, and the exit codes that say so.

    MaasInitError                 a sentence for the operator and, where there is one, what to do
    ├── SettingsError             the environment cannot be used             exit 78
    ├── ServiceFileError          a file in supervisord.conf.d cannot be used exit 78
    ├── DatabaseUnavailable       PostgreSQL was not usable in time          exit 75
    │   └── database.CannotUse    why: its name, its address, the password ...
    ├── DatabaseTooNew            a newer MAAS has upgraded the database     exit 78
    ├── CommandFailed             a program we ran ended with an error       exit 1
    │   └── Stalled               it showed no progress for too long
    ├── boot.NotWritable          volumes belong to somebody else            exit 78
    └── supervisor.SupervisorError supervisord refused, or is not there      exit 1

Messages begin with "cannot", say what was found and what is wanted; `hint` says what to do about it.
Only `cli.main` turns an error into an exit code.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """How the container ends; part of the interface (docs/reference/exit-codes.md)."""

    STOPPED = 0
    """Somebody asked for it."""
    FAILED = 1
    """Something unforeseen; the log has the traceback."""
    SERVICE_GAVE_UP = 10
    """A service whose file says `on_failure = shutdown` failed for good."""
    CHECK_GAVE_UP = 11
    """A service whose file says `on_check_failure = shutdown` stopped answering."""
    DATABASE_UNAVAILABLE = 75
    """PostgreSQL could not be used in time (sysexits EX_TEMPFAIL: trying again later may help)."""
    BAD_SETTINGS = 78
    """The settings cannot be used (sysexits EX_CONFIG)."""


class MaasInitError(Exception):
    """Base of every error that is told to the operator without a traceback."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n  ({self.hint})" if self.hint else message


class SettingsError(MaasInitError):
    """Every problem found in the settings, told at once."""

    exit_code = ExitCode.BAD_SETTINGS


class ServiceFileError(MaasInitError):
    """A service file cannot be used as it is."""

    exit_code = ExitCode.BAD_SETTINGS


class DatabaseUnavailable(MaasInitError):
    """PostgreSQL could not be used; the message says which kind of failure it is."""

    exit_code = ExitCode.DATABASE_UNAVAILABLE


class DatabaseTooNew(MaasInitError):
    """The database belongs to a newer MAAS than this image's."""

    exit_code = ExitCode.BAD_SETTINGS


class CommandFailed(MaasInitError):
    """A program ended with an error; the message has its command line, status and last lines."""


class Stalled(CommandFailed):
    """A program printed nothing for too long and was ended."""
