"""One module per corpus: how to read a user's own copy of it, for ``job=prepare``.

A recipe knows the layout of one corpus and yields its utterances; splits, filters, durations and files are the same for all
(:mod:`kidasr.corpus.prepare`). To add a corpus, add a module here and ``conf/corpus/<name>.yaml``, or both in a folder
given by ``--config-dir``.
"""
