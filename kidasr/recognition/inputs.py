"""The recordings that a user means: files, folders, patterns, manifests."""

import glob
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from kidasr.corpus.columns import columns_of
from kidasr.corpus.formats import ManifestError, format_of
from kidasr.corpus.manifest import Utterance, part_of
from kidasr.errors import KidasrError, truncate

log = logging.getLogger(__name__)

#: Endings of the files that are taken from a folder.
AUDIO = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})

#: Endings of manifests.
MANIFESTS = (".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")


def recordings_of(inputs: Sequence[str]) -> dict[str, Utterance]:
    """The recordings by a short name, which is unique and can name a file.

    Args:
        inputs: Audio files, folders (searched with all they contain), glob patterns, or manifests, whose audio paths (and
            starts and ends) count; they need no transcripts.

    Raises:
        KidasrError: If one does not exist or has no recordings.
    """
    found: dict[str, Utterance] = {}
    seen = set()
    for given in inputs:
        number = 0
        for name, one in _of(given):
            number += 1
            if one.audio_key in seen:
                continue
            seen.add(one.audio_key)
            unique, more = name, 1
            while unique in found:
                more += 1
                unique = f"{name}-{more}"
            found[unique] = one
        if not number:
            raise KidasrError(f"input={truncate(given)}: no recordings; expected: {', '.join(sorted(AUDIO))}")
    return found


def _of(given: str) -> Iterator[tuple[str, Utterance]]:
    path = Path(given).expanduser()
    if path.is_dir():
        yield from _in_folder(path)
    elif path.is_file() and path.name.lower().endswith(MANIFESTS):
        yield from _in_manifest(str(path))
    elif path.is_file():
        yield path.stem, Utterance.of_recording(str(path), str(path))
    elif glob.has_magic(str(path)):
        for match in sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207, absolute too
            yield from _of(match)
    else:
        raise KidasrError(
            f"input={truncate(given)}: no such file or folder; expected: a recording, a folder, a pattern or a manifest"
        )


def _in_folder(folder: Path) -> Iterator[tuple[str, Utterance]]:
    passed_over = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO and path.is_file():
            yield "_".join(path.relative_to(folder).with_suffix("").parts), Utterance.of_recording(str(path), str(path))
        elif path.is_file():
            passed_over += 1
    if passed_over:
        log.info("input=%s: passed over %d files that are not %s", folder, passed_over, ", ".join(sorted(AUDIO)))


def _in_manifest(name: str) -> Iterator[tuple[str, Utterance]]:
    kind = format_of(name)
    folder, names = Path(kind.folder(name)), kind.names({})
    for source, row in kind.rows(name, {}):
        if isinstance(row, ManifestError):
            raise row
        column = columns_of(tuple(row), names, source)
        audio_path = row.get(column.audio_path)
        if not isinstance(audio_path, str) or not audio_path:
            raise KidasrError(f"{source}: field {column.audio_path!r} is missing; this line has: {truncate(', '.join(row))}")
        start_sec, end_sec, _ = part_of(row, column, source)
        given = row.get(column.utterance_id or "")
        stem = str(given) if given else Path(audio_path).stem
        yield stem.replace("/", "_"), Utterance.of_recording(str(folder / audio_path), source, start_sec, end_sec)
