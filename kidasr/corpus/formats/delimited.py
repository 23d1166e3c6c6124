"""CSV and TSV: a header, then one utterance per line, with any of the usual delimiters."""

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from kidasr.corpus.columns import known_names
from kidasr.corpus.formats.format import Format, ManifestError, Row, lines_or_faults, text_lines
from kidasr.errors import truncate

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

#: In the order in which they are preferred.
DELIMITERS = (",", "\t", ";", "|")


class Delimited(Format):
    """A CSV or TSV file with a header."""

    expected = ""  # named with JSON lines
    is_general = True

    def recognises(self, name: str) -> bool:
        return name.lower().endswith(ENDINGS) and os.path.isfile(name)  # noqa: PTH113

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        return records_or_faults(Path(name), fields)


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
    for source, row in records_or_faults(path, fields):
        if isinstance(row, ManifestError):
            raise row
        yield source, row


def records_or_faults(path: Path, fields: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str] | ManifestError]]:
    """As :func:`records`, but a record that can't be used is its error, and the next ones are read."""
    csv.field_size_limit(sys.maxsize)
    name = truncate(path)
    undecodable: list[ManifestError] = []

    def decodable() -> Iterator[str]:
        for _, text in lines_or_faults(path, newline=""):
            if isinstance(text, ManifestError):
                undecodable.append(text)
                yield "\n"  # a record of several lines goes on
            else:
                yield text

    lines = decodable()
    first = next(lines, "")
    if undecodable:
        raise undecodable[0]
    delimiter = delimiter_of(first, fields)
    split = _split_at_tabs(chain([first], lines)) if delimiter == "\t" else _split(first, lines, delimiter)
    end, header = next(split, (1, []))
    if isinstance(header, csv.Error):
        raise ManifestError(f"{name}:1: not CSV: {header}; the record starts here", "unreadable_line")
    header = [column.strip() for column in header]
    if twice := [column for column, times in Counter(header).items() if times > 1]:
        raise ManifestError(f"{name}:1: column {truncate(repr(twice[0]))} occurs twice; expected: once")
    start = end + 1  # the line where a record starts; an unclosed quote swallows the rest of the file
    for end, record in split:
        source = f"{name}:{start}"
        if undecodable:
            yield source, undecodable[0]
            undecodable.clear()
        elif isinstance(record, csv.Error):
            yield source, ManifestError(f"{source}: not CSV: {record}; the record starts here", "unreadable_line")
        elif record and len(record) != len(header):
            fault = f"{source}: {len(record)} columns; expected: the header's {len(header)}"
            yield source, ManifestError(fault, "unreadable_line")
        elif record:
            yield source, dict(zip(header, record, strict=True))
        start = end + 1


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


def _split(first: str, rest: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Records, each with the number of its last line; in place of one that is not CSV, the error."""
    spaces = all(column.startswith(" ") for column in first.split(delimiter)[1:])  # "a, b, c"
    reader = csv.reader(chain([first], rest), delimiter=delimiter, strict=True, skipinitialspace=spaces)
    while True:
        record: list[str] | csv.Error
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            record = error
        yield reader.line_num, record


def _split_at_tabs(lines: Iterable[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
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
