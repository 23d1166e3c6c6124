"""What an exported model takes along besides its weights."""

import logging
import shutil
from pathlib import Path

from kidasr.model.age_lora import AGE_ADAPTERS
from kidasr.model.as_trained import describe_export, let_others_read, padding_as_trained
from kidasr.model.formats.format import Format
from kidasr.model.pretrained import PretrainedWhisper

log = logging.getLogger(__name__)

#: The model card, as hubs name it.
CARD = "README.md"


def carry_over(model: PretrainedWhisper, folder: Path, written_as: Format) -> None:
    """Add to an exported model how it was trained, its model card and its age adapters, as far as they are there.

    Args:
        model: The model that was exported.
        folder: The folder of the export.
        written_as: Its format.
    """
    source = Path(model.name_or_path).expanduser()
    describe_export(folder, model.name_or_path, model.language, model.task, written_as.describe())
    if padding_as_trained(model.name_or_path).is_short:
        log.info(
            "the model was trained on short input (padding=longest), and most programs pad to the full window: see "
            "docs/exporting.md"
        )
    if (source / CARD).is_file():
        shutil.copyfile(source / CARD, folder / CARD)
    if (source / AGE_ADAPTERS).is_dir():
        if written_as.keeps_age_adapters:
            shutil.copytree(source / AGE_ADAPTERS, folder / AGE_ADAPTERS)
        else:
            log.warning("the adapters for age groups (%s) can't be exported as %s", AGE_ADAPTERS, written_as.describe())
    let_others_read(folder)
