"""The jobs of ``python run.py``: train, check, compare, listen, plan, status. Each has a file in ``conf/job``."""
