"""Keeps secrets from the environment out of run folders, logs and reports."""

import logging
import os
import re
from collections.abc import Iterable

from kidasr.errors import KidasrError

#: Names of environment variables that hold secrets: WANDB_API_KEY, HF_TOKEN, AWS_SECRET_ACCESS_KEY, PGPASSWORD, ...
_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?(_|$)", re.IGNORECASE)
#: A password in a URL: https://user:password@host.
_ADDRESS = re.compile(r"://[^/@\s]+@")
#: Shorter values are not treated as secrets: they would match everywhere.
SHORTEST = 8

#: Hydra writes the values of this key to the run folder.
_ENV_SET = "hydra.job.env_set"


def secrets() -> dict[str, str]:
    """The environment variables that hold secrets, with their values."""
    return {
        name: value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and (_NAME.search(name) or _ADDRESS.search(value)) and not os.path.exists(value)  # noqa: PTH110
    }


def hidden(text: str) -> str:
    """Replace the value of each secret by its name: ``<HF_TOKEN>``."""
    for name, value in secrets().items():
        text = text.replace(value, f"<{name}>")
    return text


def check_no_secret(key: str, value: str) -> None:
    """Check that a value which will be written to a file contains no secret.

    Raises:
        KidasrError: If it does; the message names the variable without its value.
    """
    for name, secret in secrets().items():
        if secret in value:
            raise KidasrError(
                f"{hidden(key)}: contains the value of the environment variable {name}, which would be written to the run "
                "folder; expected: leave it in the environment"
            )


def check_overrides(overrides: Iterable[str]) -> None:
    """Check that a command line, which is recorded verbatim, contains no secret.

    Raises:
        KidasrError: For the first override that contains one.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        check_no_secret(key, override)
        names = [key.rpartition(".")[2], *re.findall(r"\w+(?=\W*:)", value)]
        if _ENV_SET in key and any(map(_NAME.search, names)):
            raise KidasrError(f"{key}: Hydra would write it to the run folder; expected: set it in the environment")


class Formatter(logging.Formatter):
    """Formats log records and tracebacks, with secrets hidden."""

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))
