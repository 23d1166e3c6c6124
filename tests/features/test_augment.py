import pytest
import torch

from kidasr.features.augment import Draw
from kidasr.features.specaugment import SpecAugment

FRAMES, REAL = 300, 140
FEATURES = torch.randn(80, FRAMES, generator=torch.Generator().manual_seed(0))


def augment(freq: int = 27, time: int = 100, freqs: int = 1, times: int = 1, fraction: float = 0.5) -> SpecAugment:
    return SpecAugment(freq, time, freqs, times, fraction)


def masked(spec: SpecAugment, epoch: int = 0, utterance_id: str = "u", seed: int = 1) -> torch.Tensor:
    return spec(FEATURES, REAL, Draw(seed, epoch, utterance_id))


def test_masks_are_bands_over_real_frames_of_their_mean() -> None:
    mean = FEATURES[:, :REAL].mean()
    widths_of_bins, widths_of_frames = set(), set()
    for epoch in range(200):
        result = masked(augment(), epoch)
        changed = result != FEATURES
        assert not changed[:, REAL:].any(), "a mask fell on padding"
        assert torch.allclose(result[changed], mean)
        bins, frames = changed[:, :REAL].all(dim=1), changed.all(dim=0)[:REAL]
        widths_of_bins.add(int(bins.sum()))
        widths_of_frames.add(int(frames.sum()))
        for band in (bins, frames):
            edges = torch.diff(band.int(), prepend=torch.zeros(1), append=torch.zeros(1))
            assert int((edges == 1).sum()) <= 1, "one mask is one band"
    assert max(widths_of_bins) in range(20, 28) and min(widths_of_bins) < 5
    assert max(widths_of_frames) in range(55, 71), "at most half of the real frames"


def test_masks_depend_on_seed_epoch_and_utterance_alone() -> None:
    spec = augment()
    torch.manual_seed(1)
    one = masked(spec)
    torch.manual_seed(2)
    assert torch.equal(one, masked(spec))
    for other in (masked(spec, epoch=1), masked(spec, utterance_id="v"), masked(spec, seed=2)):
        assert not torch.equal(one, other)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    masked(augment())
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("spec", [augment(0, 0), augment(27, 100, 0, 0)])
def test_off_is_exactly_off(spec: SpecAugment) -> None:
    assert masked(spec) is FEATURES


@pytest.mark.parametrize(("spec", "axis"), [(augment(27, 0), 0), (augment(0, 100), 1)])
def test_one_kind_alone(spec: SpecAugment, axis: int) -> None:
    changed = masked(spec, epoch=3)[:, :REAL] != FEATURES[:, :REAL]
    assert changed.any()
    assert changed.all(dim=1 - axis).sum() == changed.any(dim=1 - axis).sum()


def test_several_masks_hide_more() -> None:
    hidden = [sum(int((masked(augment(freqs=n, times=n), e) != FEATURES).sum()) for e in range(30)) for n in (1, 3)]
    assert hidden[1] > 1.3 * hidden[0]
