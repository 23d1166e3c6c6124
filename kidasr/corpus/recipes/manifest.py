"""Manifests, and any corpus that a run takes as ``data.train`` (:mod:`kidasr.corpus.formats`, such as a lhotse folder)."""

from collections.abc import Iterator
from pathlib import Path

from kidasr.config.schema import Text
from kidasr.corpus.age import AGE_ORDER, UNKNOWN, AgeBuckets
from kidasr.corpus.formats import format_of
from kidasr.corpus.manifest import ManifestError, Utterance, read_manifest
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe
from kidasr.corpus.set_names import set_of
from kidasr.errors import KidasrError

#: Endings of manifests in a folder.
ENDINGS = tuple(f"{ending}{packed}" for ending in (".jsonl", ".json", ".csv", ".tsv") for packed in ("", ".gz"))


class Manifest(Recipe):
    """One manifest or corpus, whose field ``split`` names the sets if it has one; or a folder of manifests, each a set.

    Args:
        root, about: See :class:`Recipe`; ``root`` may be a file.
        fields: The manifest's names of kidasr's fields, where they are others; None: they are all kidasr's.
    """

    layout = "a manifest, a corpus in a format of docs/formats.md, or a folder with train.jsonl and the like"

    def __init__(self, root: Text, about: About, fields: dict[Text, Text] | None):
        super().__init__(root, about)
        self.fields = dict(fields or {})

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        for path, set_name in self._files():
            try:
                rows = read_manifest(path, self.fields, AgeBuckets(self.about.age_buckets or tuple(AGE_ORDER)))
            except KidasrError as error:
                raise KidasrError(str(error).replace("data.fields.", "corpus.fields.")) from error
            yield from (_found(one, set_name) for one in rows)

    def _files(self) -> list[tuple[Path, str | None]]:
        """The manifests, each with its set if its name is that of a set."""
        files = [path for path in sorted(self.root.glob("*")) if path.name.endswith(ENDINGS)]
        own = [(path, name) for path in files if (name := set_of(path.name.partition(".")[0]))]
        try:
            format_of(str(self.root))
        except ManifestError as error:
            if not own:
                what = "in no known format" if self.root.exists() else "no such file or folder"
                raise self.wrong(what) from error
            return [*own]
        return [(self.root, None)]


def _found(one: Utterance, set_name: str | None) -> Found:
    bucket = {"age_bucket": one.age_bucket} if one.age is None and one.age_bucket != UNKNOWN else {}
    is_part = one.start_sec is not None or one.end_sec is not None
    return Found(
        utterance_id=one.utterance_id,
        speaker_id=one.speaker_id,
        audio_path=Path(one.audio_path),
        text=one.text,
        set=set_name or one.split,
        age=one.age,
        gender=one.gender,
        duration_sec=None if is_part else one.duration_sec,
        start_sec=(one.start_sec or 0.0) if is_part else None,
        end_sec=one.end_sec,
        extra={**(one.extra or {}), **bucket},
    )
