"""What the user sees while a job runs."""

import logging
import sys

from tqdm import tqdm


class ScreenHandler(logging.Handler):
    """Writes log records to standard output without tearing the progress bar; names the level from a warning up."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if record.levelno >= logging.WARNING:
                text = f"{record.levelname.lower()}: {text}"
            tqdm.write(text, file=sys.stdout)
        except Exception:
            self.handleError(record)
