"""Which utterances are seen together, and in which order (H5)."""
