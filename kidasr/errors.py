"""What a user can put right, and what is no error: that a run was stopped and can be continued."""

#: Exit code of a run that was stopped and can be continued: EX_TEMPFAIL of sysexits.h, "try again".
STOPPED = 75


class KidasrError(Exception):
    """A mistake of the user's, or of the data's; its text is one line that says what was wrong and what is expected.

    The command line prints the text without a traceback and ends with exit code 2.
    """

    #: Whether it has been logged, so that it isn't told twice.
    was_reported = False

    def __init__(self, text: str):
        if text.startswith("Caught ") and "Original Traceback" in text:
            # Raised in a data-loader worker: PyTorch puts the worker's whole traceback into the text.
            text = text.rstrip().splitlines()[-1].partition(": ")[2]
        super().__init__(text)


class Stopped(SystemExit):
    """The run was stopped by a signal. It ends the process with exit code :data:`STOPPED`, also the rest of a multirun."""

    def __init__(self, by: str):
        super().__init__(STOPPED)
        #: Name of the signal.
        self.by = by


def truncate(text: object, longest: int = 500) -> str:
    """How a message shows what it was given: on one line, control characters escaped, the middle of a long text left out."""
    plain = str(text)
    if len(plain) > longest:
        half = longest // 2
        plain = f"{plain[:half]} [... {len(plain) - 2 * half} characters ...] {plain[-half:]}"
    return plain if plain.isprintable() else repr(plain)[1:-1]
