"""The training data of the children's speech challenge *On Top of Pasketti* (DrivenData, 2026), word track.

Layout, from the challenge's problem description: a JSONL file with the transcripts, and the recordings that its
``audio_path`` names. The data come in two parts, from DrivenData and from TalkBank; prepare each by itself.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from kidasr.config.schema import Text
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, one_line, read_lines
from kidasr.errors import KidasrError, truncate

FIELDS = ("utterance_id", "child_id", "audio_path", "orthographic_text")


class Pasketti(Recipe):
    """No split of its own: its test set is not public. It gives age buckets, not ages.

    Args:
        root, about: See :class:`Recipe`.
        transcripts: The file with the transcripts, relative to ``root``.
    """

    def __init__(self, root: Text, about: About, transcripts: Text):
        super().__init__(root, about)
        self.transcripts = transcripts
        self.marks = (transcripts,)
        self.layout = f"a folder with {transcripts} (corpus.transcripts) and the recordings that it names"

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        path = root / self.transcripts
        for number, line in read_lines(path):
            try:
                row = json.loads(line)
                missing = [name for name in FIELDS if not isinstance(row.get(name), str | int)]
            except (ValueError, AttributeError) as error:
                raise KidasrError(f"{truncate(path)}:{number}: not a JSON object; expected: one per line") from error
            if missing:
                raise KidasrError(f"{truncate(path)}:{number}: no {missing[0]}; expected: {', '.join(FIELDS)}")
            name, text = str(row["utterance_id"]), one_line(str(row["orthographic_text"]))
            if not text:
                yield LeftOut(name, str(row["audio_path"]), "empty transcript")
                continue
            duration = row.get("audio_duration_sec")
            yield Found(
                utterance_id=name,
                speaker_id=str(row["child_id"]),
                audio_path=root / str(row["audio_path"]),
                text=text,
                duration_sec=float(duration) if isinstance(duration, int | float) else None,
                extra={key: row[key] for key in ("age_bucket", "session_id") if key in row},
            )
