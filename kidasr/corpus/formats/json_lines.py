"""JSON lines: one object per utterance."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kidasr.corpus.formats.format import Format, ManifestError, Row, lines_or_faults
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
        return objects_or_faults(Path(name))


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its source.

    Raises:
        ManifestError: For a line that is not an object, or not valid text.
    """
    for source, row in objects_or_faults(path):
        if isinstance(row, ManifestError):
            raise row
        yield source, row


def objects_or_faults(path: Path) -> Iterator[tuple[str, dict[str, Any] | ManifestError]]:
    """As :func:`objects`, but a line that is not an object is its error, and the next ones are read."""
    name = truncate(path)
    for line, text in lines_or_faults(path):
        source = f"{name}:{line}"
        if isinstance(text, ManifestError):
            yield source, text
        elif text.strip():
            row = _object(text)
            yield source, ManifestError(f"{source}: {row}", "unreadable_line") if isinstance(row, str) else row


def _object(text: str) -> dict[str, Any] | str:
    """The object that a line is, or what is wrong with it."""
    try:
        row = json.loads(text)
        if isinstance(row, dict) and text.count(":") > len(row):  # a key may be there twice; the hook takes its time
            json.loads(text, object_pairs_hook=_unique)
        if "\\u" in text and "\\ud" in text.lower():  # half a surrogate pair is valid JSON but not valid text
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    except UnicodeEncodeError as error:
        return f"{error.object[error.start]!r} is half a surrogate pair; expected: text"
    except _RepeatedKeyError as error:
        return f"{truncate(repr(error.args[0]))} occurs twice; expected: once"
    except (ValueError, RecursionError) as error:  # a number with thousands of digits; deep nesting
        return f"unreadable JSON: {truncate(error)}"
    return row if isinstance(row, dict) else f"{type(row).__name__}; expected: a JSON object, {{...}}, on each line"


class _RepeatedKeyError(Exception):
    """An object with the same key twice, of which JSON keeps the last."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for place, key in enumerate(keys) if key in keys[:place]))
    return found
