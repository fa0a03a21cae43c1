"""Our corruptions against MedMNIST-C's own code, with the same draws: equal pixels.

`pytest -m peers` runs it where `medmnistc` is installed, which needs PyTorch and ImageMagick.
"""

import numpy as np
import pytest
from PIL import Image

from chestrobust.attacks import corruptions
from chestrobust.data.sources import phantom

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("data", ["chestmnist", "pneumoniamnist"])
@pytest.mark.parametrize("kind", corruptions.CORRUPTIONS)
def test_pixels_are_those_of_medmnistc(kind, data, monkeypatch):
    registry = pytest.importorskip("medmnistc.corruptions.registry", reason="needs medmnistc", exc_type=ImportError)
    images = phantom.load(counts={"train": 1, "val": 1, "test": 4}, size=64).test.images
    theirs = registry.CORRUPTIONS_DS[data]
    assert list(theirs) == list(corruptions.CORRUPTIONS)
    for severity, strength in enumerate(corruptions.strengths(kind, data)):
        ours = corruptions.corrupt(images, kind, strength)
        for number, image in enumerate(images[..., 0]):
            generator = np.random.default_rng((0, number))
            monkeypatch.setattr(np.random, "normal", generator.normal)
            monkeypatch.setattr(np.random, "poisson", generator.poisson)
            theirs[kind].rng = generator
            corrupted = np.asarray(theirs[kind].apply(Image.fromarray(image).convert("RGB"), severity))
            difference = np.abs(ours[number, ..., 0] - np.asarray(Image.fromarray(corrupted).convert("L"), int))
            # Their blur is taken in float32, so that a half may be rounded the other way.
            assert difference.max() <= (kind == "gaussian_blur")
            assert np.mean(difference > 0) < 1e-3
