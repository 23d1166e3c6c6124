"""Any Hugging Face data set: an audio folder, a saved data set, or a name on the hub.

Audio folders and saved data sets are read by :mod:`kidasr.corpus.formats`, without the library ``datasets``; recordings in
saved data sets stay where they are. Those of other data sets are written to files, since a cache is no place for a corpus.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidasr.config.schema import Group, Text
from kidasr.corpus.formats.audio_folder import FILE_NAME, metadata_of, metadata_rows
from kidasr.corpus.formats.format import ManifestError
from kidasr.corpus.formats.saved_data_set import SavedDataSet
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, SetName, known, one_line, years
from kidasr.errors import KidasrError, truncate


class Columns(Group):
    """The data set's names of kidasr's fields; None for a field that it lacks."""

    audio: Text
    text: Text
    speaker_id: Text
    utterance_id: Text | None
    age: Text | None
    gender: Text | None


class HuggingFace(Recipe):
    """Recordings of a data set that ``datasets`` loads are written to ``audio/``.

    Args:
        root, about: See :class:`Recipe`; ``root`` may be a name on the hub.
        config_name: The configuration of a data set that has several, such as a language.
        columns: See :class:`Columns`.
        age_words: Ages in years for words that stand for them; None: there are none.
        sets: The set that each split is, by the split's name.
    """

    layout = "a folder with metadata.csv or metadata.jsonl, one written by save_to_disk, or a name on the Hugging Face hub"

    def __init__(
        self,
        root: Text,
        about: About,
        config_name: Text | None,
        columns: Columns,
        age_words: dict[Text, int] | None,
        sets: dict[Text, SetName],
    ):
        super().__init__(root, about)
        self.name, self.config_name = root, config_name
        self.columns = Columns.model_validate(dict(columns))
        self.age_words, self.sets = {word.lower(): age for word, age in (age_words or {}).items()}, dict(sets)

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        splits = self._audio_folder() or self._saved() or self._load()
        if not any(name in self.sets for name in splits):
            raise self.wrong(f"no split is a set: {truncate(', '.join(splits))} (corpus.sets names others)")
        for name, rows in splits.items():
            if name not in self.sets:
                yield LeftOut(name, "", "split not in corpus.sets", f"{len(rows)} utterances")
                continue
            self._check_columns(rows.column_names if hasattr(rows, "column_names") else list(rows[0]))
            # A single split, which load_dataset calls train, is no split of the corpus.
            set_name = self.sets[name] if len(splits) > 1 else None
            for number, row in enumerate(rows):
                yield self._utterance(row, f"{name}-{number:06}", set_name, output_dir)

    def _audio_folder(self) -> dict[str, Sequence[Mapping[str, Any]]]:
        """The rows of each split of an audio folder; empty if it is none."""
        found: dict[str, Sequence[Mapping[str, Any]]] = {}
        for path in metadata_of(self.root) if self.root.is_dir() else ():
            rows = [self._with_path(row, str(path.parent / row[FILE_NAME])) for _, row in metadata_rows(path, {})]
            if rows:
                found["train" if path.parent == self.root else path.parent.name] = rows
        return found

    def _saved(self) -> dict[str, Sequence[Mapping[str, Any]]]:
        """The rows of each split of a data set written by ``save_to_disk``; empty if it is none."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        saved, root = SavedDataSet(), str(self.root)
        for _, row in saved.rows(root, {"audio_path": self.columns.audio}) if saved.recognises(root) else ():
            if isinstance(row, ManifestError):
                raise row
            if path := row.get(self.columns.audio):
                row = self._with_path(row, str(self.root / path))
            found.setdefault(row.get("split") or "train", []).append(row)
        return dict(found)

    def _with_path(self, row: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """A row with its recording as the library ``datasets`` gives it."""
        return {**row, self.columns.audio: {"path": path, "bytes": None}}

    def _load(self) -> dict[str, Any]:
        try:
            import datasets
        except ImportError as error:
            raise KidasrError("corpus=huggingface: needs the package datasets; pip install 'kidasr[hub]'") from error
        if not self.root.exists() and (self.root.is_absolute() or self.name.startswith((".", "~"))):
            raise self.wrong("no such folder")
        try:
            place = str(self.root) if self.root.exists() else self.name
            loaded = datasets.load_dataset(place, self.config_name)
        except Exception as error:  # of many kinds: no such folder, no network, a gated data set
            reason = " ".join(f"{error} {error.__cause__ or ''}".split())
            raise self.wrong(f"can't be loaded: {truncate(reason, 300)}") from error
        splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {str(loaded.split or "train"): loaded}
        audio = self.columns.audio
        return {
            str(name): rows.cast_column(audio, datasets.Audio(decode=False)) if audio in rows.column_names else rows
            for name, rows in splits.items()
        }

    def _check_columns(self, there: list[str]) -> None:
        for key, column in self.columns.model_dump().items():
            if column is not None and column not in there:
                raise KidasrError(
                    f"corpus.columns.{key}={column}: no such column; expected: one of {truncate(', '.join(there))}"
                    + (" (speakers must be known, so that no child is in two sets)" if key == "speaker_id" else "")
                )

    def _utterance(self, row: Mapping[str, Any], place: str, set_name: str | None, output_dir: Path) -> Found | LeftOut:
        columns = self.columns
        name = str(row[columns.utterance_id]) if columns.utterance_id else place
        audio, text, speaker = row[columns.audio] or {}, row[columns.text], row[columns.speaker_id]
        path = Path(audio.get("path") or "")
        if not text or not str(text).strip() or speaker in (None, ""):
            reason = "no speaker" if speaker in (None, "") else "empty transcript"
            return LeftOut(name, str(path), reason, place, set_name)
        if audio.get("bytes") is not None:
            path = output_dir / "audio" / f"{place}{path.suffix or '.wav'}"
            if not path.is_file() or path.stat().st_size != len(audio["bytes"]):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(audio["bytes"])  # one that is cut short has another size, and is written again
        given = row[columns.age] if columns.age else None
        age = self.age_words.get(str(given).lower())
        return Found(
            utterance_id=name,
            speaker_id=str(speaker),
            audio_path=path,
            text=one_line(str(text)),
            set=set_name,
            age=age if age is not None else years(given, f"{self.name}: {place}"),
            gender=known(str(row[columns.gender])) if columns.gender and row[columns.gender] is not None else None,
            extra={"age_given": given} if age is not None else {},
        )
