"""The embedded defaults: a corpus of synthetic children and a micro Whisper, both made by the scripts in this package."""
