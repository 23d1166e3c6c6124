"""Hugging Face audio folders: recordings beside ``metadata.csv`` or ``metadata.jsonl``, in a folder or one for each set.

Also read by the recipe :mod:`kidasr.corpus.recipes.huggingface`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kidasr.corpus.formats.delimited import records
from kidasr.corpus.formats.format import Format, ManifestError, Row, first_of
from kidasr.corpus.formats.json_lines import objects
from kidasr.corpus.set_names import set_of

METADATA = ("metadata.jsonl", "metadata.csv")

#: The column with the recording, relative to the metadata.
FILE_NAME = "file_name"


class AudioFolder(Format):
    """A folder as in https://huggingface.co/docs/datasets/audio_load#audiofolder."""

    expected = "a Hugging Face audio folder (metadata.csv or metadata.jsonl)"

    def recognises(self, name: str) -> bool:
        try:
            return os.path.isdir(name) and bool(metadata_of(Path(name)))  # noqa: PTH112
        except OSError:
            return False

    def names(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        return {**fields, "audio_path": FILE_NAME} if fields.get("audio_path", "audio_path") == "audio_path" else fields

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        root, split_name = Path(name), fields.get("split", "split")
        column = self.names(fields)["audio_path"]
        for path in metadata_of(root):
            folder = path.parent.relative_to(root).as_posix()
            for source, row in metadata_rows(path, fields, column):
                file = row[column]
                parts = Path(folder, file).parts[:-1]
                named = next((part for part in parts if set_of(part)), None)  # as in train/0001.wav
                split = {} if named is None or split_name in row else {split_name: named}
                yield source, {**row, column: os.path.join(folder, file) if folder != "." else file, **split}  # noqa: PTH118


def metadata_rows(path: Path, fields: Mapping[str, str], column: str = FILE_NAME) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of one file of metadata; the recording in ``column`` is relative to its folder.

    Raises:
        ManifestError: If it can't be read, or a row names no recording.
    """
    for source, row in objects(path) if path.suffix == ".jsonl" else records(path, fields):
        file = row.get(column)
        if not isinstance(file, str) or not file:
            raise ManifestError(f"{source}: {column}={file!r}; expected: the name of a recording")
        yield source, row


def metadata_of(root: Path) -> list[Path]:
    """The metadata of a folder, or of its subfolders, named after sets or not, in the order train, validation, test."""
    if own := first_of(root, METADATA):
        return [own]
    folders = [path for parent in (root, root / "data") if parent.is_dir() for path in parent.iterdir() if path.is_dir()]
    order = ("train", "validation", "test", None)
    folders.sort(key=lambda path: (order.index(set_of(path.name)), path.name))
    return [path for folder in folders if (path := first_of(folder, METADATA))]
