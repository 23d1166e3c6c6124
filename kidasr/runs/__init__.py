"""Run folders and sweep folders: files, identity and history of runs. Importing these modules does not import torch."""
