"""The names that manifests and folders give the sets."""

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def set_of(split: str | None) -> str | None:
    """The set that a split's name means, in any case: ``"train"``, ``"validation"`` or ``"test"``; None if unknown."""
    return SPLIT_NAMES.get((split or "").strip().lower())
