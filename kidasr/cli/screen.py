"""Log output on the screen."""

import logging
import sys

from tqdm import tqdm


class ScreenHandler(logging.Handler):
    """Writes log records to standard output, and errors to standard error, without breaking the progress bar.

    Warnings and errors start with their level.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if record.levelno >= logging.WARNING:
                text = f"{record.levelname.lower()}: {text}"
            tqdm.write(text, file=sys.stderr if record.levelno >= logging.ERROR else sys.stdout)
        except Exception:
            self.handleError(record)
