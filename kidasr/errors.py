"""Errors that the user can fix, and the exit of a run that was stopped and can be resumed."""

#: Exit code of a run that was stopped and can be resumed: EX_TEMPFAIL of sysexits.h, "try again".
STOPPED = 75


class KidasrError(Exception):
    """A mistake in the command or the data. The text is one line: what is wrong and what is expected.

    The command line prints the text without a traceback and exits with :attr:`exit_code`.
    """

    #: Whether it has been logged already.
    was_reported = False
    #: Exit code of the command line.
    exit_code = 2

    def __init__(self, text: str):
        if text.startswith("Caught ") and "Original Traceback" in text:
            # Raised in a data-loader worker: PyTorch puts the worker's complete traceback into the text.
            text = text.rstrip().splitlines()[-1].partition(": ")[2]
        super().__init__(text)


class FindingsError(KidasrError):
    """A job did its work and found faults that its exit code must show. The text says what to do about them."""

    exit_code = 1


class Stopped(SystemExit):
    """The run was stopped by a signal. Exits the process with :data:`STOPPED`, including the rest of a multirun."""

    def __init__(self, by: str):
        super().__init__(STOPPED)
        #: Name of the signal.
        self.by = by


def truncate(text: object, longest: int = 500) -> str:
    """Quote input in a message: on one line, control characters escaped, the middle of a long text left out."""
    plain = str(text)
    if len(plain) > longest:
        half = longest // 2
        plain = f"{plain[:half]} [... {len(plain) - 2 * half} characters ...] {plain[-half:]}"
    return plain if plain.isprintable() else repr(plain)[1:-1]
