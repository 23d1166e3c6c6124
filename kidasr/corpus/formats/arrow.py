"""Tables of the library datasets: Arrow files with a column of audio, which is read in place, without unpacking the table.

Used by :mod:`~kidasr.corpus.formats.saved_data_set` and :mod:`~kidasr.corpus.formats.hub`.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from kidasr.corpus.formats.format import ManifestError, Row
from kidasr.errors import truncate

if TYPE_CHECKING:
    import pyarrow

#: A file, and the split that it belongs to.
Part = tuple[str, str | None]


def table_rows(name: str, parts: Sequence[Part], fields: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a data set.

    The recordings stay in the Arrow files: an audio path is ``FILE#bytes=FIRST-END``, see :mod:`kidasr.corpus.audio`. An
    utterance without an id is named after its recording.

    Args:
        name: The data set, for messages.
        parts: Its files in order.
        fields: The user's name of each field.

    Raises:
        ManifestError: If pyarrow is missing, a file can't be read, or no column has audio or paths.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ManifestError(f"{truncate(name)}: reading Arrow files takes: pip install 'kidasr[formats]'") from error
    seen: set[str] = set()
    audio_name, id_name, split_name = (fields.get(field, field) for field in ("audio_path", "utterance_id", "split"))
    for file, split in parts:
        try:
            file = os.path.abspath(file)  # noqa: PTH100, as paths in it are relative to nothing
            with pyarrow.memory_map(file) as source:
                yield from _file_rows(file, split, source.read_buffer(), audio_name, id_name, split_name, seen)
        except pyarrow.ArrowException as error:
            raise ManifestError(f"{truncate(file)}: not an Arrow file of datasets: {truncate(error, 200)}") from error


def _file_rows(
    file: str, split: str | None, content: "pyarrow.Buffer", audio_name: str, id_name: str, split_name: str, seen: set[str]
) -> Iterator[Row]:
    import pyarrow

    with pyarrow.ipc.open_stream(content) as reader:
        audio = _audio_column(reader.schema, audio_name, file)
        labels = _labels(reader.schema)
        number = 0
        for batch in reader:
            columns = {
                name: _named(batch.column(name).to_pylist(), labels.get(name))
                for name in batch.schema.names
                if name != audio
            }
            recordings = _recordings(batch.column(audio), content, file) if audio else [None] * batch.num_rows
            for place, recording in enumerate(recordings):
                number += 1
                row = {name: values[place] for name, values in columns.items()}
                if split is not None:
                    row.setdefault(split_name, split)
                if recording is not None:
                    path, inside = recording
                    row[audio_name] = inside or path
                    if id_name not in row and inside:
                        of = PurePosixPath(path or "").name
                        row[id_name] = of if of and of not in seen else f"{split or 'data'}-{number}"
                        seen.add(row[id_name])
                yield f"{truncate(file)}:{number}", row


def _audio_column(schema: "pyarrow.Schema", wanted: str, file: str) -> str | None:
    """The column with audio: ``struct<bytes, path>``. None if there is none, as in tables of paths."""
    import pyarrow

    found = [
        field.name
        for field in schema
        if pyarrow.types.is_struct(field.type) and {"bytes", "path"} <= {inner.name for inner in field.type}
    ]
    if wanted in found:
        return wanted
    if len(found) > 1:
        ways = " or ".join(f"data.fields.audio_path={name}" for name in found)
        raise ManifestError(f"{truncate(file)}: {len(found)} columns of audio; expected: {ways}")
    return found[0] if found else None


def _labels(schema: "pyarrow.Schema") -> dict[str, list[str]]:
    """The names of the classes of each column of class labels."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _named(values: list[Any], names: Sequence[str] | None) -> list[Any]:
    if names is None:
        return values
    return [names[value] if isinstance(value, int) and 0 <= value < len(names) else None for value in values]


def _recordings(column: Any, content: "pyarrow.Buffer", file: str) -> list[tuple[str | None, str | None]]:
    """The path that is recorded for each recording, and where its bytes are in the file, if they are there."""
    paths = column.field("path").to_pylist()
    encoded = column.field("bytes")
    width = np.int64 if "large" in str(encoded.type) else np.int32
    _, ends, data = encoded.buffers()
    bounds = np.frombuffer(ends, dtype=width)[encoded.offset : encoded.offset + len(encoded) + 1].astype(np.int64)
    if data is None:
        return [(path, None) for path in paths]
    first = data.address - content.address
    if not 0 <= first <= content.size:  # compressed
        raise ManifestError(
            f"{truncate(file)}: compressed audio columns can't be read in place; expected: as datasets writes them"
        )
    bounds += first
    embedded = encoded.is_valid().to_pylist()
    return [
        (path, f"{file}#bytes={start}-{end}" if there else None)
        for path, there, start, end in zip(paths, embedded, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
