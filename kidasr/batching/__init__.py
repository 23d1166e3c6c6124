"""Batches of utterances, and their order (H5)."""
