"""Formats of a model for other programs: the ``format`` group of ``job=export``."""
