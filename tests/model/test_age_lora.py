"""LoRA by age: each utterance of a batch has the weights of its own group, in training, decoding, and after the merge."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import WhisperForConditionalGeneration as StockWhisper

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.model.age_groups import NO_GROUP, GroupLora
from kidasr.model.age_lora import AgeLora, group_folder
from kidasr.model.kept_encodings import is_deterministic
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from tests.conftest import MICRO
from tests.model.test_short_training import inputs_of

GROUPS = ("3-4", "7-8", "13+")
#: Of four utterances: the second's age is unknown.
AGES = [2, NO_GROUP, 0, 2]


def of_age(bucket: str) -> Utterance:
    return Utterance("u", "s", "a.wav", "a", bucket, None, 1.0, None, None, "m.jsonl:1")


def age_lora(part: Any = "both", dropout: float = 0.0) -> AgeLora:
    adapter = AgeLora(4, 2, 8, dropout, ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], part, 10)
    adapter.choose_groups([of_age(name) for name in (*GROUPS, "unknown")], AgeBuckets())
    return adapter


def load() -> Whisper:
    return PretrainedWhisper(str(MICRO), "en", "transcribe").load()


@pytest.fixture
def whisper() -> Iterator[Whisper]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield load()


def trained(whisper: Whisper, part: Any = "both") -> AgeLora:
    """An adapter as after some training: every weight is other than at the start."""
    adapter = age_lora(part)
    adapter.wrap(whisper.model)
    with torch.no_grad():
        for name, one in whisper.model.named_parameters():
            if ".lora_B." in name:
                one.normal_(std=0.1)
    return adapter


def batch_of(whisper: Whisper, ages: Sequence[int] = AGES, rows: Sequence[int] = range(4)) -> dict[str, torch.Tensor]:
    """Some of four utterances of different length, with the ages of their places."""
    rows = list(rows)
    batch = {name: one[rows] for name, one in inputs_of(whisper).items() if name not in ("keys", "label_places")}
    return {**batch, "age_groups": torch.tensor([ages[row] for row in rows])}


def logits_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(**batch).logits
    return logits


def without_ages(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one for name, one in batch.items() if name != "age_groups"}


def test_an_untrained_adapter_changes_no_bit_and_only_the_adapters_train(whisper: Whisper) -> None:
    model, batch = whisper.model, batch_of(whisper)
    before, texts = logits_of(model, without_ages(batch)), whisper.transcribe(without_ages(batch), [20] * 4, 1)
    adapter = age_lora()
    adapter.wrap(model)
    assert torch.equal(logits_of(model, batch), before)
    assert whisper.transcribe(batch, [20] * 4, 1) == texts
    names = {name for name, one in model.named_parameters() if one.requires_grad}
    assert names == set(adapter.own_weights(model)) and all(".lora_" in name for name in names)
    assert sum(".by_age." in name for name in names) == len(names) / 2


@pytest.mark.parametrize("part", ["encoder", "decoder", "both"])
def test_each_utterance_of_a_batch_has_what_its_merged_group_gives(part: Any, whisper: Whisper, tmp_path: Path) -> None:
    model = whisper.model
    adapter = trained(whisper, part)
    batch = batch_of(whisper)
    mixed, texts = logits_of(model, batch), whisper.transcribe(batch, [30] * 4, 1)
    others = logits_of(model, batch_of(whisper, [1, 1, 1, 1]))
    assert all((mixed[row] - others[row]).abs().max() > 0.1 for row in range(4)), "the groups differ"
    adapter.save_groups(model, tmp_path)
    adapter.merge(model)
    whisper.save(tmp_path)
    assert not any(isinstance(one, GroupLora) for one in model.modules())
    for row, group in enumerate(AGES):
        merged = load()
        merged.model.load_state_dict(StockWhisper.from_pretrained(tmp_path).state_dict())
        if group != NO_GROUP:
            plain: Any = PeftModel.from_pretrained(merged.model, str(group_folder(tmp_path, GROUPS[group])))
            merged.model = plain.merge_and_unload()
        alone = without_ages(batch_of(whisper, rows=[row]))
        torch.testing.assert_close(logits_of(merged.model, alone), mixed[row : row + 1], atol=1e-4, rtol=1e-4)
        assert merged.transcribe(alone, [30], 1) == texts[row : row + 1]


def test_utterances_of_other_ages_in_a_batch_change_no_transcript(whisper: Whisper) -> None:
    """Also where some end before others and leave the batch, and with beams."""
    trained(whisper)
    bounds = [3, 30, 9, 20]
    for beams in (1, 3):
        texts = whisper.transcribe(batch_of(whisper), bounds, beams)
        alone = [whisper.transcribe(batch_of(whisper, rows=[row]), bounds[row : row + 1], beams)[0] for row in range(4)]
        assert texts == alone
        assert texts != whisper.transcribe(batch_of(whisper, [0, 0, 1, 0]), bounds, beams)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_of_a_group_comes_from_its_utterances_alone(whisper: Whisper, checkpointing: bool) -> None:
    model = whisper.model
    trained(whisper)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()

    def gradients(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Of the sum over the tokens, of which the model takes the mean."""
        model.zero_grad()
        (model(**batch).loss * (batch["labels"] != -100).sum()).backward()
        return {name: one.grad for name, one in model.named_parameters() if ".by_age." in name and one.grad is not None}

    whole = gradients(batch_of(whisper))
    parts = {group: gradients(batch_of(whisper, rows=[row for row in range(4) if AGES[row] == group])) for group in (0, 2)}
    of_none = gradients(batch_of(whisper, rows=[1]))
    assert len(whole) == len(of_none) == 2 * sum(isinstance(one, GroupLora) for one in model.modules())
    for name, found in whole.items():
        first, second, third = found.chunk(3, dim=0 if ".lora_A." in name else 1)
        assert not second.any() and not of_none[name].any()
        for group, own in ((0, first), (2, third)):
            expected = parts[group][name].chunk(3, dim=0 if ".lora_A." in name else 1)[group]
            assert own.any()
            torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-3)


def test_what_would_be_computed_without_ages_is_refused(whisper: Whisper) -> None:
    trained(whisper)
    batch = batch_of(whisper)
    with pytest.raises(KidasrError, match="has an adapter for each age group, and this batch has no ages"):
        whisper.model(**without_ages(batch))
    with pytest.raises(KidasrError, match="has other ages"):
        whisper.model(**{**batch, "age_groups": torch.tensor([0])})


def test_encodings_are_kept_only_without_groups_in_the_encoder() -> None:
    for part, kept in (("decoder", True), ("encoder", False)):
        whisper = load()
        age_lora(part).wrap(whisper.model)
        assert is_deterministic(whisper.model.get_encoder()) is kept


def test_a_model_that_is_no_whisper_and_data_without_ages_are_refused() -> None:
    with pytest.raises(KidasrError, match=r"^adapter=age: a Linear does not take the age of an utterance; expected: a Whi"):
        age_lora().wrap(torch.nn.Linear(2, 2))
    with pytest.raises(KidasrError, match=r"^adapter=age: no utterance of data.train has a known age; expected: ages in "):
        age_lora().choose_groups([of_age("unknown")], AgeBuckets())
