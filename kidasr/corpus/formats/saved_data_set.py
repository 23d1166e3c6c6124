"""Data sets of the library datasets that were saved with ``save_to_disk``."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kidasr.corpus.formats.arrow import Part, table_rows
from kidasr.corpus.formats.format import Format, ManifestError, Row, unreadable
from kidasr.errors import truncate

#: Of a data set with several splits, each in a folder of its name; and of one.
SPLITS, STATE = "dataset_dict.json", "state.json"


class SavedDataSet(Format):
    """A folder with Arrow files; a recording embedded in them is read in place."""

    expected = "a data set saved with save_to_disk"

    def recognises(self, name: str) -> bool:
        return any(os.path.isfile(os.path.join(name, file)) for file in (SPLITS, STATE))  # noqa: PTH113, PTH118

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        folder = Path(name)
        if (folder / SPLITS).is_file():
            splits = _read(folder / SPLITS, "splits")
            parts = [part for split in splits for part in _parts(folder / str(split), str(split))]
        else:
            parts = _parts(folder, None)
        return table_rows(name, parts, fields)


def _parts(folder: Path, split: str | None) -> list[Part]:
    files = _read(folder / STATE, "_data_files")
    try:
        return [(str(folder / file["filename"]), split) for file in files]
    except (TypeError, KeyError) as error:
        raise ManifestError(f"{truncate(folder / STATE)}: lists no files; expected: as save_to_disk writes it") from error


def _read(path: Path, key: str) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{truncate(path)}: no list {key!r}; expected: as save_to_disk writes it") from error
    return list(found)
