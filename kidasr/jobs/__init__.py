"""What ``python run.py`` can do: train, compare, say how a sweep is doing. Each is named in ``conf/job``."""
