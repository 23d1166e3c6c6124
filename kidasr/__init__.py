"""kidasr: fine-tune Whisper on children's speech.

The packages stand in the order in which data flows, and a module imports only what comes before it:

- ``corpus``: manifest → split → order. Which utterances, whose, in which set, seen in which order (H5).
- ``features``: audio → log-mel features → augmentation → batch (H4).
- ``model``: Whisper, and which of its parameters train (H3).
- ``recognition``: decode → score. Transcripts, WER and CER, overall and by age.
- ``evidence``: how sure a difference between runs is: intervals, tests, effects.
- ``report``: what a run leaves behind: files, tables, figures, pages, loggers.
- ``training``: the job that drives them, with checkpoints (H1), schedule and early stopping (H2).

Beside them, ``config`` checks what the user asked for before anything heavy starts, and ``embedded`` holds the corpus and
the model that the defaults use, with the scripts that made them.
"""

__version__ = "0.1.0"
