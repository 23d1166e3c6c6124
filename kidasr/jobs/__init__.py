"""The jobs of ``python run.py``. Each has a file in ``conf/job``."""
