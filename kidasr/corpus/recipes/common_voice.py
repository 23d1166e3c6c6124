"""Mozilla Common Voice: volunteers of all ages read sentences.

Layout: ``LANGUAGE/{train,dev,test}.tsv`` with ``LANGUAGE/clips/*.mp3``; columns ``client_id``, ``path``, ``sentence``,
``age``, ``gender`` and others, which differ between releases. The files are read by
:mod:`kidasr.corpus.formats.common_voice`.

lhotse's recipe reads the same, but only releases with the columns ``accents`` and ``variant``, and drops missing recordings.
"""

from collections.abc import Iterator
from pathlib import Path

from kidasr.config.schema import Text
from kidasr.corpus.formats import common_voice
from kidasr.corpus.formats.delimited import header_of
from kidasr.corpus.recipes.recipe import NOT_KNOWN, About, Found, LeftOut, Recipe, known, one_line
from kidasr.errors import KidasrError, truncate

SETS = {"train": "train", "dev": "validation", "test": "test"}
COLUMNS = (*common_voice.COLUMNS, "age", "gender")


class CommonVoice(Recipe):
    """Its own split, by volunteers. Children can't be told from others but for ``teens``, who are 13 to 19.

    Args:
        root, about: See :class:`Recipe`; the folder of one language.
        age_words: An age in years for each word of the column ``age`` that is not a decade from ``twenties`` up.
    """

    layout = "the folder of one language, with train.tsv, dev.tsv, test.tsv and clips/"
    marks = (*(f"{name}.tsv" for name in SETS), "clips")

    def __init__(self, root: Text, about: About, age_words: dict[Text, int]):
        super().__init__(root, about)
        self.age_words = {**common_voice.YEARS, **age_words}

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        for name, set_name in SETS.items():
            table = root / f"{name}.tsv"
            missing = [column for column in COLUMNS if column not in header_of(table, {})]
            if missing:
                raise KidasrError(f"{truncate(table)}: no column {missing[0]}; expected: {', '.join(COLUMNS)}")
            for source, row in common_voice.clips(table, {}):
                path, word = root / row["path"], row["age"].strip()
                text = one_line(row["sentence"])
                if word not in self.age_words and word.lower() not in NOT_KNOWN:
                    expected = f"expected: one of corpus.age_words ({', '.join(self.age_words)})"
                    raise KidasrError(f"{source}: age {truncate(repr(word))}; {expected}")
                if not text or not row["client_id"]:
                    yield LeftOut(path.stem, str(path), "empty sentence" if not text else "no client_id", set=set_name)
                    continue
                yield Found(
                    utterance_id=path.stem,
                    speaker_id=row["client_id"],
                    audio_path=path,
                    text=text,
                    set=set_name,
                    age=self.age_words.get(word),
                    gender=known(row["gender"]),
                    extra={"age_given": word} if word else {},
                )
