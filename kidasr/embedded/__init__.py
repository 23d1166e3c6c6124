"""The embedded default: a synthetic child corpus and a micro Whisper, both made by the scripts of this package."""
