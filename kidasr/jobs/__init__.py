"""The jobs of ``python run.py``: train, compare, status. Each has a file in ``conf/job``."""
