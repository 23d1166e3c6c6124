"""The augmentations of the field: one module and one file in ``conf/augment`` each (docs/augmentations.md)."""
