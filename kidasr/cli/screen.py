"""What the user sees while a job runs."""

import logging
import sys

from tqdm import tqdm


class ScreenHandler(logging.Handler):
    """Writes log records to standard output, errors to standard error, without tearing the progress bar.

    From a warning up, a record's level is named.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if record.levelno >= logging.WARNING:
                text = f"{record.levelname.lower()}: {text}"
            tqdm.write(text, file=sys.stderr if record.levelno >= logging.ERROR else sys.stdout)
        except Exception:
            self.handleError(record)
