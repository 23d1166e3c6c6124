"""Data sets of the Hugging Face hub, loaded and kept in a cache by the library datasets."""

import os
import re
from collections.abc import Iterator, Mapping

from kidasr.corpus.formats.arrow import table_rows
from kidasr.corpus.formats.format import Format, ManifestError, Row
from kidasr.errors import truncate

#: ``owner/name``, or ``owner/name:config``.
NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")

#: A name with one of these is a mistyped path.
ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".gz", ".parquet", ".xlsx", ".wav", ".flac", ".yaml")


class Hub(Format):
    """A name such as ``owner/name``, if there is no folder ``owner``."""

    expected = "owner/name of a data set on the Hugging Face hub"
    is_general = True

    def recognises(self, name: str) -> bool:
        owner = name.partition("/")[0]
        is_name = NAME.fullmatch(name) and not name.lower().endswith(ENDINGS)
        return bool(is_name) and owner not in (".", "..") and not os.path.exists(owner)  # noqa: PTH110

    def folder(self, name: str) -> str:
        return ""

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        match = NAME.fullmatch(name)
        assert match is not None
        missing = f"{truncate(name)}: no such file or folder"
        try:
            import datasets
        except ImportError as error:
            raise ManifestError(f"{missing}; a data set of the Hugging Face hub takes: pip install 'kidasr[hub]'") from error
        try:
            found = datasets.load_dataset(match[1], match[2])
        except Exception as error:  # of many libraries: no network, no such data set, one that needs a login
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ManifestError(
                f"{missing}, and the Hugging Face hub gave no such data set: {truncate(reason, 200)}"
            ) from error
        parts = [(file["filename"], split) for split, one in found.items() for file in one.cache_files]
        return table_rows(name, parts, fields)
