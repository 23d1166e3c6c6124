"""Common Voice: its TSV files, beside which the recordings are in ``clips/``.

Also read by the recipe :mod:`kidasr.corpus.recipes.common_voice`, which makes manifests of a whole release.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from kidasr.corpus.formats.delimited import ENDINGS, header_of, records
from kidasr.corpus.formats.format import Format, ManifestError, Row

log = logging.getLogger(__name__)

#: Columns by which its files are recognised.
COLUMNS = ("client_id", "path", "sentence")

#: Its ages are decades, here a year in the middle of each: all are in the bucket of adults. Teens are all under 20.
YEARS = {
    "twenties": 25,
    "thirties": 35,
    "fourties": 45,
    "forties": 45,
    "fifties": 55,
    "sixties": 65,
    "seventies": 75,
    "eighties": 85,
    "nineties": 95,
}
TEENS = "teens"


class CommonVoice(Format):
    """``validated.tsv``, ``train.tsv`` and the like, as unpacked."""

    expected = "a TSV file of Common Voice"

    def recognises(self, name: str) -> bool:
        if not name.lower().endswith(ENDINGS) or not os.path.isfile(name):  # noqa: PTH113
            return False
        try:
            return set(header_of(Path(name), {})) >= set(COLUMNS)
        except ManifestError:
            return False

    def names(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        own = {"audio_path": "path", "text": "sentence", "speaker_id": "client_id"}
        return {**fields, **{field: name for field, name in own.items() if fields.get(field, field) == field}}

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        path = Path(name)
        age = fields.get("age", "age")
        decades: Counter[str] = Counter()
        for source, row in clips(path, fields):
            decade = row.get(age, "").strip().lower()
            if decade in YEARS or decade == TEENS:
                decades[decade] += 1
                row[age] = str(YEARS.get(decade, ""))
            yield source, row
        if decades:
            log.info(
                "data: %s: ages are decades, read as their middle; teens, all under 20, are unknown (%d utterances)",
                *(path, decades[TEENS]),
            )


def clips(path: Path, fields: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of one file, whose ``path`` is relative to its folder.

    Raises:
        ManifestError: If it can't be read.
    """
    prefix = "clips/" if (path.parent / "clips").is_dir() else ""
    for source, row in records(path, fields):
        if "/" not in row["path"] and row["path"]:
            row["path"] = prefix + row["path"]
        yield source, row
