"""Kaldi and ESPnet data folders (https://kaldi-asr.org/doc/data_prep.html)."""

from collections.abc import Iterator
from pathlib import Path

from kidasr.config.schema import Text
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, SetName, known, read_lines, read_pairs, years
from kidasr.errors import KidasrError, truncate


class Kaldi(Recipe):
    """One data folder (``wav.scp``, ``text``, ``utt2spk``), or a folder of several, each a set.

    ``segments``, ``spk2age`` or ``utt2age``, and ``spk2gender`` are read if they are there.

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
    """The utterances of one data folder, in the order of ``segments``, or else of ``wav.scp``.

    Args:
        folder: The folder.
        audio_root: The folder that relative paths in ``wav.scp`` start from.
        set_name: The set that it is.

    Raises:
        KidasrError: If a table is missing or can't be read.
    """
    wav, texts, speakers = (read_pairs(folder / name) for name in ("wav.scp", "text", "utt2spk"))
    optional = {
        name: read_pairs(folder / name) for name in ("spk2age", "utt2age", "spk2gender") if (folder / name).is_file()
    }
    by_speaker, by_utterance, genders = (optional.get(name, {}) for name in ("spk2age", "utt2age", "spk2gender"))
    segments = _segments(folder / "segments") if (folder / "segments").is_file() else {key: (key, None, None) for key in wav}
    for name in texts.keys() - segments.keys():
        yield LeftOut(name, "", "no recording in wav.scp or segments", str(folder), set_name)
    for name, (recording, start_sec, end_sec) in segments.items():
        where = wav.get(recording)
        reason = (
            "no recording in wav.scp"
            if not where
            else "wav.scp has a command, not a file"
            if where.endswith("|")
            else "no transcript"
            if name not in texts
            else "empty transcript"
            if not texts[name]
            else "no speaker in utt2spk"
            if not speakers.get(name)
            else ""
        )
        if reason or not where:
            yield LeftOut(name, where or "", reason, str(folder), set_name)
            continue
        speaker = speakers[name]
        age = by_utterance.get(name, by_speaker.get(speaker))
        yield Found(
            utterance_id=name,
            speaker_id=speaker,
            audio_path=audio_root / where,
            text=texts[name],
            set=set_name,
            age=years(age, f"{truncate(folder)}: {truncate(name)}"),
            gender=known(genders.get(speaker)),
            start_sec=start_sec,
            end_sec=end_sec,
        )


def _segments(path: Path) -> dict[str, tuple[str, float | None, float | None]]:
    """Recording, start and end in seconds of each utterance."""
    found: dict[str, tuple[str, float | None, float | None]] = {}
    for number, line in read_lines(path):
        try:
            name, recording, start, end = line.split()
            times = float(start), float(end)
            if not 0 <= times[0] < times[1]:
                raise ValueError
        except ValueError as error:
            raise KidasrError(
                f"{truncate(path)}:{number}: {truncate(line)!r}; expected: utterance, recording, start and end in seconds"
            ) from error
        found[name] = (recording, *times)
    return found
