"""kidasr: fine-tune Whisper on children's speech.

A package imports only what comes before it on this list:

- ``errors``, ``seeding``, ``durable``, ``processes``: modules that every package may use.
- ``config``: what the user may ask for, checked before anything heavy starts.
- ``runs``: run folders and sweep folders: their files, their names, what happened in them.
- ``corpus``: manifest → split → recordings. Which utterances, whose, in which set.
- ``features``: log-mel features → augmentation (H4).
- ``batching``: order (H5) → batches → tensors.
- ``model``: Whisper, and which of its parameters train (H3).
- ``recognition``: decode → score. Transcripts, WER and CER, overall and by age.
- ``evidence``: how sure a difference between runs is: intervals, tests, effects.
- ``report``: tables, figures, pages, loggers.
- ``training``: the trainer, with checkpoints (H1) and early stopping (H2).
- ``cli``: the command line.
- ``sweep``: many runs: here, on SLURM, as a search.
- ``jobs``: what ``python run.py`` can do: train, compare, show a sweep's status.

Beside them, ``embedded`` holds the corpus and the model that the defaults use, with the scripts that made them.
"""

__version__ = "0.1.0"
