"""Corrupted pictures, and the accuracy of a classifier on them."""

from colorsys import hsv_to_rgb, rgb_to_hsv

import numpy as np
import pytest
from drawing import draw_labelled as drawn
from PIL import Image
from scipy import ndimage

from hf_alignet.errors import InputError
from hf_alignet.evaluation import change, corruption_robustness
from hf_alignet.evaluation.downstream.corruptions import (
    ALL,
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    central_square,
    corrupt,
)
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.logistic import fit_probe


@pytest.fixture(scope="module")
def square():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(224, 224, 3)), (6, 6, 0))
    return Image.fromarray((255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8))


def changed(square, name, severity, seed=0):
    found = corrupt(square, Corruption(name, severity), np.random.default_rng(seed))
    assert found.size == (224, 224) and found.mode == "RGB"
    return np.asarray(found).astype(float) / 255


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_get_worse_and_seeds_repeat(name, square):
    clean = np.asarray(square) / 255
    errors = [((changed(square, name, severity) - clean) ** 2).mean() for severity in SEVERITIES]
    assert errors == sorted(errors) and errors[0] > 0
    one, same, other = (changed(square, name, 3, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.array_equal(one, other) != name.endswith("noise")


def test_published_parameters():
    grey = Image.new("RGB", (224, 224), (128, 128, 128))
    value = 128 / 255
    assert changed(grey, "gaussian_noise", 1).std() == pytest.approx(0.08, rel=0.02)
    assert changed(grey, "shot_noise", 1).std() == pytest.approx((value / 60) ** 0.5, rel=0.02)
    hit = changed(grey, "impulse_noise", 5)
    assert (hit == 0).mean() == pytest.approx(0.135, abs=0.005) == (hit == 1).mean()
    assert changed(grey, "brightness", 2) == pytest.approx(value + 0.2, abs=1 / 255)
    assert changed(grey, "contrast", 5) == pytest.approx(value, abs=1 / 255)
    halves = Image.new("RGB", (224, 224))
    halves.paste((255, 255, 255), (0, 0, 112, 224))
    assert np.ptp(changed(halves, "contrast", 1)) == pytest.approx(0.4, abs=1 / 255)
    assert np.count_nonzero(np.diff(changed(noise(), "pixelate", 5)[0, :, 0])) <= 55  # 224 / 4 columns
    assert [strengths for _, strengths in CORRUPTIONS.values()][-1] == (25, 18, 15, 10, 7)


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))


def test_brightness_keeps_hue_and_saturation(square):
    """Against the conversion of Python's own library, colour by colour."""
    square.putpixel((0, 0), (0, 0, 0))
    found = changed(square, "brightness", 3)
    for y, x in ((0, 0), (50, 60), (200, 10)):
        hue, saturation, value = rgb_to_hsv(*(np.asarray(square)[y, x] / 255))
        assert found[y, x] == pytest.approx(hsv_to_rgb(hue, saturation, min(1, value + 0.3)), abs=1.1 / 255)


def test_defocus_is_the_mean_over_a_disk():
    """Against a loop over the disk of radius 3, whose smoothing at severity 1 changes nothing."""
    picture = noise()
    colours = np.asarray(picture) / 255
    near = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if y * y + x * x <= 9]
    for place in ((100, 100), (40, 180)):
        mean = np.mean([colours[place[0] + y, place[1] + x] for y, x in near], 0)
        assert changed(picture, "defocus_blur", 1)[place] == pytest.approx(mean, abs=1.1 / 255)


def test_centre_of_the_resized_picture():
    picture = noise().resize((512, 320), Image.Resampling.BILINEAR)
    whole = picture.resize((round(512 * 256 / 320), 256), Image.Resampling.BILINEAR)
    left = (whole.width - 224) / 2
    expected = np.asarray(whole.crop((round(left), 16, round(left) + 224, 240))).astype(float)
    assert np.abs(np.asarray(central_square(picture)) - expected)[2:-2, 2:-2].mean() < 3
    assert central_square(Image.new("RGB", (3, 100_000))).size == (224, 224)  # resized whole it would fill the memory


# ---- accuracy


def versions(test, noise, seed=5):
    """Embeddings of a test set, the worse the more severe."""
    rng = np.random.default_rng(seed)
    return {
        corruption: test.embeddings + noise * corruption.severity * rng.normal(size=test.embeddings.shape)
        for corruption in ALL
    }


def test_robustness_is_the_accuracy_of_the_probe_on_each_version():
    train, test = drawn(30), drawn(25, seed=1)
    corrupted = versions(test, 1.0)
    found = corruption_robustness(train, test, corrupted)
    fitted = fit_probe(train.embeddings, train.labels, 4)
    of_each = {c: (fitted.predict(x) == test.labels).mean() for c, x in corrupted.items()}
    for corruption, share in of_each.items():
        assert found[f"{corruption.name}/{corruption.severity}/corruption_accuracy"]["value"] == pytest.approx(share)
    for severity in SEVERITIES:
        mean = np.mean([share for corruption, share in of_each.items() if corruption.severity == severity])
        assert found[f"severity_{severity}/corruption_accuracy"]["value"] == pytest.approx(mean)
    clean, mean = (found[f"{variant}/corruption_accuracy"] for variant in ("clean", "mean"))
    kept = found["mean/kept_accuracy"]
    assert clean["value"] == (fitted.predict(test.embeddings) == test.labels).mean() and clean["value"] > 0.8
    assert mean["value"] == pytest.approx(np.mean(list(of_each.values())))
    assert kept["value"] == pytest.approx(mean["value"] / clean["value"]) and kept["chance"] is None
    assert len(found) == 40 + 5 + 3
    for metric in found.values():
        assert metric["n"] == 100 and metric["unit"] == "images"
        assert metric["ci95"][0] < metric["value"] < metric["ci95"][1]
    assert np.ptp(mean["ci95"]) < np.ptp(found["jpeg_compression/5/corruption_accuracy"]["ci95"])


def test_interval_of_the_kept_share_is_that_of_a_bootstrap_and_differences_are_paired():
    train, test = drawn(30), drawn(60, seed=1, noise=1.5)
    one, other = (corruption_robustness(train, test, versions(test, noise)) for noise in (1.0, 1.2))
    fitted = fit_probe(train.embeddings, train.labels, 4)
    clean = fitted.predict(test.embeddings) == test.labels
    kept = np.mean([fitted.predict(x) == test.labels for x in versions(test, 1.0).values()], 0)
    draws = np.random.default_rng(0).integers(0, 240, (4000, 240))
    low, high = np.quantile(kept[draws].mean(1) / clean[draws].mean(1), (0.025, 0.975))
    assert one["mean/kept_accuracy"]["ci95"] == pytest.approx([low, high], abs=0.008)
    for name in ("mean/kept_accuracy", "mean/corruption_accuracy"):
        difference = change(one[name], other[name])
        assert difference["value"] < 0 and difference["p_value"] < 0.05
        assert np.ptp(difference["ci95"]) < np.ptp(one[name]["ci95"])


def test_nothing_is_kept_of_nothing():
    train = drawn(20, noise=0.1)
    wrong = Labelled(train.embeddings, (train.labels + 1) % 4, train.classes)
    found = corruption_robustness(train, wrong, {Corruption("contrast", 1): train.embeddings})
    assert found["clean/corruption_accuracy"]["value"] == 0 and "mean/kept_accuracy" not in found


@pytest.mark.parametrize(
    ("corrupted", "message"),
    [({}, "got nothing"), ({Corruption("contrast", 1): np.ones((3, 12))}, "each of the 40 test images, got 3")],
)
def test_refused(corrupted, message):
    with pytest.raises(InputError, match=message):
        corruption_robustness(drawn(10), drawn(10), corrupted)
