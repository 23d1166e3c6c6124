"""JSON lines: one object per utterance."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kidasr.corpus.formats.format import Format, ManifestError, Row, text_lines
from kidasr.errors import truncate

#: NeMo names such files ``.json``.
ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


class JsonLines(Format):
    """A file with one JSON object per line."""

    expected = "a manifest ending in .jsonl, .csv or .tsv"
    is_general = True

    def recognises(self, name: str) -> bool:
        return name.lower().endswith(ENDINGS) and os.path.isfile(name)  # noqa: PTH113

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        return objects(Path(name))


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its source.

    Raises:
        ManifestError: For a line that is not an object, or not valid text.
    """
    name = truncate(path)
    for line, text in text_lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            if "\\u" in text and "\\ud" in text.lower():  # half a surrogate pair is valid JSON but not valid text
                json.dumps(row, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise ManifestError(f"{name}:{line}: not JSON: {error.msg} at column {error.colno}") from error
        except UnicodeEncodeError as error:
            half = repr(error.object[error.start])
            raise ManifestError(f"{name}:{line}: {half} is half a surrogate pair; expected: text") from error
        except (ValueError, RecursionError) as error:  # a number with thousands of digits; deep nesting
            raise ManifestError(f"{name}:{line}: unreadable JSON: {truncate(error)}") from error
        if not isinstance(row, dict):
            raise ManifestError(f"{name}:{line}: {type(row).__name__}; expected: a JSON object, {{...}}")
        yield f"{name}:{line}", row
