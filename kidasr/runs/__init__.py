"""The folders of runs and of sweeps: what is in them, what a run is, what happened to it. Nothing here imports torch."""
