"""Kaldi and ESPnet data folders (https://kaldi-asr.org/doc/data_prep.html), read by :mod:`kidasr.corpus.formats.kaldi`."""

from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

from kidasr.config.schema import Text
from kidasr.corpus.formats.kaldi import Unusable, utterances
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, SetName, known, years
from kidasr.errors import KidasrError, truncate


class Kaldi(Recipe):
    """One data folder (``wav.scp``, ``text``, ``utt2spk``), or a folder of several, each a set.

    ``segments``, ``utt2age`` or ``spk2age``, and ``utt2gender`` or ``spk2gender`` are read if they are there.

    Args:
        root, about: See :class:`Recipe`.
        audio_root: The folder that relative paths in ``wav.scp`` start from: the one in which Kaldi was run; None for
            ``root``.
        sets: The set that each folder is, by the folder's name.
    """

    layout = "a folder with wav.scp, text and utt2spk, or folders train, dev, test with these (corpus.sets names others)"

    def __init__(self, root: Text, about: About, audio_root: Text | None, sets: dict[Text, SetName]):
        super().__init__(root, about)
        self.audio_root = Path(audio_root).expanduser() if audio_root else self.root
        self.sets = dict(sets)

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        if (root / "wav.scp").is_file():
            yield from read_data_folder(root, self.audio_root, None)
            return
        folders = sorted(path.parent for path in root.glob("*/wav.scp"))
        if not any(folder.name in self.sets for folder in folders):
            found = f": {', '.join(folder.name for folder in folders)}" if folders else ""
            raise self.wrong(f"has no data folder that is a set{truncate(found)}")
        for folder in folders:
            if folder.name in self.sets:
                yield from read_data_folder(folder, self.audio_root, self.sets[folder.name])
            else:
                yield LeftOut(folder.name, "", "folder not in corpus.sets", str(folder))


def read_data_folder(folder: Path, audio_root: Path, set_name: str | None) -> Iterator[Found | LeftOut]:
    """The utterances of one data folder; those that can't be used, or have no text, are left out.

    Args:
        folder: The folder.
        audio_root: The folder that relative paths in ``wav.scp`` start from.
        set_name: The set that it is.

    Raises:
        KidasrError: If a table is missing or can't be read.
    """
    for one in utterances(folder):
        if isinstance(one, Unusable):
            yield LeftOut(one.utterance_id, one.audio_path, one.reason, str(folder), set_name)
            continue
        source, row = one
        name = row["utterance_id"]
        if not row["text"] or not row["speaker_id"]:
            reason = "empty transcript" if not row["text"] else "no speaker in utt2spk"
            yield LeftOut(name, row["audio_path"], reason, str(folder), set_name)
            continue
        start_sec, end_sec = _times(row, source)
        yield Found(
            utterance_id=name,
            speaker_id=row["speaker_id"],
            audio_path=audio_root / row["audio_path"],
            text=row["text"],
            set=set_name,
            age=years(row.get("age"), f"{truncate(folder)}: {truncate(name)}"),
            gender=known(row.get("gender")),
            start_sec=start_sec,
            end_sec=end_sec,
        )


def _times(row: Mapping[str, Any], source: str) -> tuple[float | None, float | None]:
    """Start and end in seconds; an end of None is that of the recording."""
    if "start" not in row:
        return None, None
    start, end = row["start"], row["end"]
    try:
        start_sec, end_sec = float(start), None if end is None else float(end)
        if not 0 <= start_sec < (inf if end_sec is None else end_sec):
            raise ValueError
    except ValueError as error:
        raise KidasrError(f"{source}: start={start}, end={end}; expected: seconds, an end after the start") from error
    return start_sec, end_sec
