"""Engines that transcribe: the ``backend`` group of ``job=transcribe``."""
