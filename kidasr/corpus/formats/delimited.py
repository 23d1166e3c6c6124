"""CSV and TSV: a header, then one utterance per line, with any of the usual delimiters."""

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from kidasr.corpus.columns import known_names
from kidasr.corpus.formats.format import Format, ManifestError, Row, text_lines
from kidasr.errors import truncate

ENDINGS = (".csv", ".tsv")

#: In the order in which they are preferred.
DELIMITERS = (",", "\t", ";", "|")


class Delimited(Format):
    """A CSV or TSV file with a header."""

    expected = ""  # named with JSON lines
    is_general = True

    def recognises(self, name: str) -> bool:
        return name.lower().endswith(ENDINGS) and os.path.isfile(name)  # noqa: PTH113

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        return records(Path(name), fields)


def records(path: Path, fields: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The records of a file, each with its source.

    With tabs, a line is a record, and a quote is a character like others, as in Common Voice, unless it encloses a whole
    cell. With other delimiters, quotes are those of RFC 4180.

    Args:
        path: The file.
        fields: The user's names of fields, by which the delimiter is found.

    Raises:
        ManifestError: For a record with more or fewer columns than the header.
    """
    csv.field_size_limit(sys.maxsize)
    name = truncate(path)
    lines = (text for _, text in text_lines(path, newline=""))
    start = 1  # the line where a record starts; an unclosed quote swallows the rest of the file
    try:
        first = next(lines, "")
        delimiter = delimiter_of(first, fields)
        split = _split_at_tabs(chain([first], lines)) if delimiter == "\t" else _split(first, lines, delimiter)
        end, header = next(split, (1, []))
        header = [column.strip() for column in header]
        if twice := [column for column, times in Counter(header).items() if times > 1]:
            raise ManifestError(f"{name}:1: column {truncate(repr(twice[0]))} occurs twice; expected: once")
        start = end + 1
        for end, record in split:
            if record and len(record) != len(header):
                raise ManifestError(f"{name}:{start}: {len(record)} columns; expected: the header's {len(header)}")
            if record:
                yield f"{name}:{start}", dict(zip(header, record, strict=True))
            start = end + 1
    except csv.Error as error:
        raise ManifestError(f"{name}:{start}: not CSV: {error}; the record starts here") from error


def header_of(path: Path, fields: Mapping[str, str]) -> list[str]:
    """The column names of a file."""
    first = next((text for _, text in text_lines(path, newline="")), "")
    return _columns(first, delimiter_of(first, fields))


def delimiter_of(header: str, fields: Mapping[str, str]) -> str:
    """The delimiter that finds most of the known names in a header; of several, the one that finds most columns."""
    known = known_names(fields)

    def fit(delimiter: str) -> tuple[int, int]:
        columns = _columns(header, delimiter)
        return sum(column in known for column in columns), len(columns)

    return max(DELIMITERS, key=fit)


def _columns(header: str, delimiter: str) -> list[str]:
    try:
        return [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _split(first: str, rest: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records, each with the number of its last line."""
    spaces = all(column.startswith(" ") for column in first.split(delimiter)[1:])  # "a, b, c"
    reader = csv.reader(chain([first], rest), delimiter=delimiter, strict=True, skipinitialspace=spaces)
    for record in reader:
        yield reader.line_num, record


def _split_at_tabs(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        cells = text.split("\t") if text else []
        yield number, [_without_quotes(cell) for cell in cells] if '"' in text else cells


def _without_quotes(cell: str) -> str:
    """A cell without the quotes around it, if those inside are doubled."""
    inner = cell[1:-1].replace('""', "")
    if len(cell) < 2 or not cell[0] == cell[-1] == '"' or '"' in inner:
        return cell
    return cell[1:-1].replace('""', '"')
