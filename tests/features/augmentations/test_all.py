"""What holds for every augmentation."""

from typing import Any

import numpy as np
import pytest
import torch

from kidasr.config import check_config
from kidasr.config.checks import ConfigError
from kidasr.corpus.audio import Samples
from kidasr.errors import KidasrError
from kidasr.features.augment import Augmentations, Draw, share_of
from kidasr.features.augmentations.concat import Concat
from tests.conftest import composed
from tests.features.augmentations.everything import ALL, FEATURES, WAVEFORMS, augmentation, augmented, recording

MASKED = torch.randn(80, 200, generator=torch.Generator().manual_seed(0))


def applied(name: str, draw: Draw, **keys: Any) -> Samples | torch.Tensor:
    if name in WAVEFORMS:
        changed: Samples = augmentation(name, **keys)(recording(), draw)
        return changed
    features: torch.Tensor = augmentation(name, **keys)(MASKED, 150, draw)
    return features


@pytest.mark.parametrize("name", [*WAVEFORMS, "vtlp", "time_warp"])
def test_it_depends_on_seed_epoch_utterance_and_view_alone(name: str) -> None:
    keys = {"factors": [0.9, 1.1]} if name == "speed" else {"p": 1.0}
    torch.manual_seed(1)
    np.random.seed(1)
    one = applied(name, Draw(1, 0, "u"), **keys)
    torch.manual_seed(2)
    np.random.seed(2)
    state = torch.get_rng_state()
    assert np.array_equal(one, applied(name, Draw(1, 0, "u"), **keys))
    assert torch.equal(state, torch.get_rng_state())
    for others in (
        [Draw(1, epoch, "u") for epoch in range(1, 9)],
        [Draw(1, 0, utterance) for utterance in "abcdefgh"],
        [Draw(seed, 0, "u") for seed in range(2, 10)],
        [Draw(1, 0, "u", view) for view in range(1, 9)],
    ):
        assert any(not np.array_equal(one, applied(name, other, **keys)) for other in others)


@pytest.mark.parametrize("name", [*WAVEFORMS, "vtlp", "time_warp"])
def test_p_is_the_share_of_the_utterances_that_it_changes_and_0_is_off_to_the_bit(name: str) -> None:
    off = augmentation(name, p=0.0)
    draws = [Draw(1, 0, str(number)) for number in range(300)]
    samples = recording()
    for one in draws[:20]:
        assert (off(samples, one) is samples) if name in WAVEFORMS else (off(MASKED, 150, one) is MASKED)
    assert not any(off.drawn(one) is not None for one in draws)
    keys = {"factors": [0.9]} if name == "speed" else {}
    some = augmentation(name, p=0.3, **keys)
    share = np.mean([some.drawn(one) is not None for one in draws])
    assert share == pytest.approx(0.3, abs=0.08)
    changed = [one for one in draws[:12] if some.drawn(one) is not None]
    original = samples if name in WAVEFORMS else MASKED
    assert changed and not any(np.array_equal(applied(name, one, p=0.3, **keys), original) for one in changed)
    assert "three utterances of ten" in some.describe()


@pytest.mark.parametrize("name", WAVEFORMS)
@pytest.mark.parametrize("samples", [1, 7, 160, 799, 16_000])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_silent_short_and_loud_utterances_survive(name: str, samples: int, level: float) -> None:
    signal = (level * np.sign(np.sin(np.arange(samples) + 1))).astype(np.float32)
    keys = {"factors": [0.9, 1.1]} if name == "speed" else {"p": 1.0}
    for heard in augmented(augmentation(name, **keys), signal, 6):
        assert heard.dtype == np.float32 and heard.ndim == 1 and np.isfinite(heard).all() and np.abs(heard).max() <= 1.0001
        assert len(heard) == len(signal) or name == "speed"
        assert level or not heard.any() or name == "codec", "silence stays silence"


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
def test_features_of_few_frames_survive(name: str, frames: int) -> None:
    for epoch in range(6):
        changed = augmentation(name)(MASKED[:, :6], frames, Draw(1, epoch, "u"))
        assert (
            changed.shape == (80, 6)
            and bool(changed.isfinite().all())
            and torch.equal(changed[:, frames:], MASKED[:, frames:6])
        )


def test_all_together_lengthen_by_no_more_than_they_say_and_stay_within_the_window() -> None:
    chain = Augmentations({name: augmentation(name) for name in WAVEFORMS})
    samples = recording()
    for epoch in range(10):
        heard = chain.waveform(samples, Draw(1, epoch, "u"), 10 * len(samples))
        assert len(heard) <= chain.max_length_factor * len(samples) + 1
        assert len(chain.waveform(samples, Draw(1, epoch, "u"), len(samples))) <= len(samples)


#: Overrides, and the lines that say what is wrong with them.
MISTAKES = {
    "augment.speed.factors=[3]": "augment.speed.factors.0=3: should be less than or equal to 2",
    "augment.speed.p=1.5": "augment.speed.p=1.5: should be less than or equal to 1",
    "augment.pitch.semitones=[2,-2]": "augment.pitch.semitones=[2, -2]: should be [LOWEST, HIGHEST], from -12 to 12",
    "augment.adult_to_child.pitch_factor=2": "augment.adult_to_child.pitch_factor=2: should be a valid list",
    "augment.noise.snr_db=[1,2,3]": "augment.noise.snr_db=[1, 2, 3]: should be [LOWEST, HIGHEST], from -20",
    "augment.noise.kinds=[hiss]": "augment.noise.kinds.0=hiss: should be 'white', 'pink', 'brown' or 'babble'",
    "augment.codec.codecs=[aac]": "augment.codec.codecs.0=aac: should be 'mu_law', 'gsm' or 'mp3'",
    "augment.concat.max_utterances=1": "augment.concat.max_utterances=1: should be greater than or equal to 2",
    "+augment.gain.gain=3": "augment.gain.gain: no such key; did you mean augment.gain.gain_db?",
}
FOLDERS = {
    "augment.noise.folder=nowhere": "augment.noise.folder=nowhere: no such folder; expected: a folder with",
    "augment.reverb.folder=docs": "augment.reverb.folder=docs: no recordings in it; expected: a folder with",
}


@pytest.mark.parametrize("mistakes", [MISTAKES, FOLDERS])
def test_a_mistake_is_one_line(mistakes: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(composed(f"augment=[{','.join(ALL)}]", *mistakes))
    told = str(caught.value).splitlines()
    assert len(told) == len(mistakes)
    assert all(any(one.startswith(line) for one in told) for line in mistakes.values()), told


def test_two_that_join_are_refused() -> None:
    concat = Concat(10, 2, "any", 0.0, 1.0)
    with pytest.raises(KidasrError, match=r"^augment: a and b both join utterances; expected: one of them$"):
        Augmentations({"a": concat, "b": concat})


@pytest.mark.parametrize(
    ("fraction", "words"),
    [(2 / 3, "two utterances of three"), (1, "every utterance"), (0, "no utterance"), (0.13, "13% of the utterances")],
)
def test_a_share_in_words(fraction: float, words: str) -> None:
    assert share_of(fraction) == words


def test_the_key_of_the_augmentation_on_the_command_line_is_meant() -> None:
    assert composed("augment=[speed,specaugment]", "augment.p=0.25").augment.speed.p == 0.25


def test_kids_is_a_policy_and_hypotheses_add_to_each_other() -> None:
    assert list(composed("augment=kids").augment) == ["concat", "speed", "pitch", "vtlp", "specaugment"]
    everything = composed(f"hypotheses=[h4,{','.join(ALL[:-1])}]")
    check_config(everything)
    assert set(everything.augment) == set(ALL)
    together = set(composed("hypotheses=[h4,speed,noise,kids]").augment)
    assert together == {"specaugment", "speed", "noise", "concat", "pitch", "vtlp"}
