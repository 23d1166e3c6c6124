"""What would hurt a training, found without training: functions of the corpus, registered by :func:`findings.check`.

A new check is one more module here, or a module of your own that ``check.modules`` names.
"""
