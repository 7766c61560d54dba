"""Crop and colour on the device: bounds, sameness over time, and each colour change against its plain formula."""

from __future__ import annotations

import colorsys

import pytest
import torch

from slr.training.augmentation import NUM_CHANCES, FrameAugmentation

STILL = {"min_area": 1.0, "aspect": 1.0, "colour": 0.0}
MIDDLE = 0.5


def frames(*, num_frames: int = 3, size: int = 16) -> torch.Tensor:
    still = torch.randint(0, 256, (2, 1, 3, size, size), generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(still.float().flatten(0, 1), 5, 1, 2).reshape(2, 1, 3, size, size)
    return smooth.to(torch.uint8).expand(-1, num_frames, -1, -1, -1).contiguous()


def chances(**places: float) -> torch.Tensor:
    found = torch.full((2, NUM_CHANCES), MIDDLE)
    for place, value in places.items():
        found[:, int(place.removeprefix("at"))] = value
    return found


def test_nothing_asked_nothing_changed() -> None:
    assert torch.equal(FrameAugmentation(**STILL)(frames(), torch.rand(2, NUM_CHANCES)), frames())


def test_all_frames_of_a_clip_change_alike_and_clips_differ() -> None:
    pictures = frames()
    pictures[1] = pictures[0]
    drawn = torch.rand(2, NUM_CHANCES, generator=torch.Generator().manual_seed(1))
    found = FrameAugmentation(colour=1.0)(pictures, drawn)
    assert torch.equal(found[:, 0], found[:, 1])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found, pictures)


def test_padding_changes_nothing_and_nothing_is_copied_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, drawn = frames(num_frames=3), chances(at5=0.0, at7=0.9)
    padded = torch.cat([clip, clip.new_zeros(2, 5, *clip.shape[2:])], dim=1)
    augment = FrameAugmentation(colour=1.0)
    assert torch.equal(augment(padded, drawn)[:, :3], augment(clip, drawn))
    # torch.tensor(…, device="cuda") makes the host wait for the device.
    monkeypatch.setattr(torch, "tensor", lambda *values, **options: pytest.fail("a copy from the host"))
    augment(clip, drawn)


def test_flip_mirrors() -> None:
    found = FrameAugmentation(**{**STILL, "flip": 0.5})(frames(), chances(at4=0.4))
    assert torch.equal(found, frames().flip(-1))


def test_a_crop_is_the_enlarged_part() -> None:
    # Half of each side, at the upper left corner: the picture's own pixels, interpolated.
    found = FrameAugmentation(**{**STILL, "min_area": 0.25})(frames(), chances(at0=0.0, at2=0.0, at3=0.0))
    expected = torch.nn.functional.interpolate(
        frames()[:, 0, :, :8, :8].float(), size=16, mode="bilinear", align_corners=False
    )
    # The last rows look beyond the crop, as they do in the picture itself.
    assert (found[:, 0, :, :14, :14].float() - expected[..., :14, :14]).abs().max() <= 1


def test_crops_keep_their_area_and_aspect() -> None:
    drawn = torch.rand(500, NUM_CHANCES, generator=torch.Generator().manual_seed(2))
    placed = FrameAugmentation()._placement(drawn)
    width, height = placed[:, 0, 0], placed[:, 1, 1]
    assert (width * height).min() > 0.6
    assert (width <= 1).all()
    assert (height <= 1).all()
    assert (width / height).max() <= 1.34
    assert (placed[:, 0, 2].abs() + width <= 1 + 1e-6).all()
    assert (placed[:, 1, 2].abs() + height <= 1 + 1e-6).all()


def colour_twin(picture: torch.Tensor, bright: float, contrast: float, saturation: float) -> torch.Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    values = picture.float() * bright
    mean = (values * weights).sum(0).mean()
    values = contrast * values + (1 - contrast) * mean
    return saturation * values + (1 - saturation) * (values * weights).sum(0)


@pytest.mark.parametrize(("place", "name"), [(6, "bright"), (7, "contrast"), (8, "saturation")])
@pytest.mark.parametrize("value", [0.1, 0.9])
def test_colours_follow_their_formula(place: int, name: str, value: float) -> None:
    settings = {"bright": 1.0, "contrast": 1.0, "saturation": 1.0}
    settings[name] = 1 + (2 * value - 1) * 0.4
    still = frames(num_frames=1)
    found = FrameAugmentation(**{**STILL, "colour": 1.0})(still, chances(**{f"at{place}": value}))
    expected = torch.stack([colour_twin(item[0], **settings) for item in still])
    assert (found[:, 0].float() - expected.clamp(0, 255)).abs().max() <= 1


def test_hue_turns_and_leaves_greys() -> None:
    red = torch.zeros(2, 1, 3, 4, 4, dtype=torch.uint8)
    red[:, :, 0] = 200
    grey = torch.full((2, 1, 3, 4, 4), 90, dtype=torch.uint8)
    turned = FrameAugmentation(**{**STILL, "colour": 1.0, "hue": 0.2})
    hue = colorsys.rgb_to_hsv(*(turned(red, chances(at9=1.0))[0, 0, :, 0, 0].float() / 255).tolist())[0]
    assert hue == pytest.approx(0.2, abs=0.05)
    assert (turned(grey, chances(at9=1.0)).int() - 90).abs().max() <= 1


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"min_area must lie in \(0, 1\]"):
        FrameAugmentation(min_area=0.0)
