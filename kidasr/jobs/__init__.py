"""The jobs of ``python run.py``: train, check, compare, plan, status. Each has a file in ``conf/job``."""
