"""Secrets stay in the environment: none gets into a run's folder, its log or its reports."""

import logging
import os
import re
from collections.abc import Iterable

from kidasr.errors import KidasrError

#: Names of environment variables that hold secrets: WANDB_API_KEY, HF_TOKEN, AWS_SECRET_ACCESS_KEY, PGPASSWORD, ...
_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?(_|$)", re.IGNORECASE)
#: A password within an address: https://user:password@host.
_ADDRESS = re.compile(r"://[^/@\s]+@")
#: A shorter value would be found everywhere; it is none.
SHORTEST = 8

#: Hydra would write the values down with its own settings.
_ENV_SET = "hydra.job.env_set"


def secrets() -> dict[str, str]:
    """Environment variables that hold secrets, with their values."""
    return {
        name: value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and (_NAME.search(name) or _ADDRESS.search(value)) and not os.path.exists(value)  # noqa: PTH110
    }


def hidden(text: str) -> str:
    """A text with ``<HF_TOKEN>`` where the value of that variable stood."""
    for name, value in secrets().items():
        text = text.replace(value, f"<{name}>")
    return text


def check_no_secret(key: str, value: str) -> None:
    """Make sure that a value which is going to be written down holds no secret.

    Raises:
        KidasrError: With the variable's name, and without its value.
    """
    for name, secret in secrets().items():
        if secret in value:
            raise KidasrError(
                f"{hidden(key)}: holds the value of the environment variable {name}, which would be written to the run's "
                "folder; expected: to leave it in the environment"
            )


def check_overrides(overrides: Iterable[str]) -> None:
    """Make sure that a command line, which is recorded as it is, holds no secret.

    Raises:
        KidasrError: For the first override that does.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        check_no_secret(key, override)
        names = [key.rpartition(".")[2], *re.findall(r"\w+(?=\W*:)", value)]
        if _ENV_SET in key and any(map(_NAME.search, names)):
            raise KidasrError(f"{key}: Hydra would write it to the run's folder; expected: to set it in the environment")


class Formatter(logging.Formatter):
    """Formats log records, tracebacks among them, with secrets hidden."""

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))
