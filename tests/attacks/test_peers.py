"""Our attacks against those of other libraries, on one trained model: equal where they can be, and where they can't.

`pytest -m peers` runs them in the environment of `make peers`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from chestrobust import attacks, losses, models
from chestrobust.data.sources import phantom

pytestmark = pytest.mark.peers

PGD = {"epsilon": 0.05, "step_size": 0.01, "steps": 10}
OURS = {**PGD, "precision": "float32"}  # The model itself, to the last pixel.
# What CleverHans calls the same things.
CLEVERHANS = {"norm": np.inf, "clip_min": 0.0, "clip_max": 1.0, "sanity_checks": False}


@pytest.fixture(scope="module")
def splits():
    return phantom.load(counts={"train": 800, "val": 1, "test": 128})


@pytest.fixture(scope="module")
def model(splits):
    """The logits of a default model after a few epochs on the phantom."""
    keras.utils.set_random_seed(0)
    classifier = models.build_cnn(splits.image_shape, len(splits.label_names))
    classifier.compile("adam", "binary_crossentropy")
    images, labels = splits.train.images.astype(np.float32) / 255, splits.train.labels.astype(np.float32)
    classifier.fit(images, labels, epochs=5, batch_size=32, verbose=0)
    return models.logits(classifier)


@pytest.fixture(scope="module")
def batch(splits):
    """128 test images: of none, one and several findings."""
    images, labels = splits.test.images.astype(np.float32) / 255, splits.test.labels.astype(np.float32)
    assert {0, 1, 2} <= set(labels.sum(axis=1))
    return images, labels


def peer(module):
    """A module of another library; the test is skipped where it isn't installed."""
    return pytest.importorskip(module, reason="needs make peers")


@pytest.fixture
def art_classifier(model, batch):
    """The model as ART wants it, with the loss that fits several labels."""
    return peer("art.estimators.classification").TensorFlowV2Classifier(
        model=model,
        nb_classes=batch[1].shape[1],
        input_shape=batch[0].shape[1:],
        loss_object=keras.losses.BinaryCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )


def bce(model, images, labels):
    return losses.binary_cross_entropy(labels, model(images, training=False)).numpy()


def assert_equal(model, labels, theirs, ours):
    """Every pixel and every image's loss, to the rounding of float32, but for at most one image in a hundred.

    Libraries project by different sums, so pixels differ by up to 7e-9, which can turn the sign of a gradient that is
    all but 0; from there on the image takes another path. Of 1,152 images in runs of 10 to 50 steps one did (132 of its
    pixels, its loss by 0.2 %), and none in runs of 10 steps.
    """
    same = np.isclose(theirs, ours, rtol=0, atol=1e-6).all(axis=(1, 2, 3))
    assert same.mean() >= 0.99
    theirs, ours = bce(model, theirs, labels), bce(model, ours, labels)
    np.testing.assert_allclose(theirs[same], ours[same], rtol=1e-5)
    np.testing.assert_allclose(theirs, ours, rtol=0.02)


def unchanged(attacked, images):
    return (np.asarray(attacked) == images).all(axis=(1, 2, 3))


def foolbox_pgd(model, images, labels, start=None):
    """Foolbox's PGD with our loss in place of its own, from the images or from `start`."""
    foolbox, eagerpy = peer("foolbox"), peer("eagerpy")

    class MultiLabelPGD(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model, labels):
            return lambda x: eagerpy.astensor(
                tf.reduce_sum(losses.binary_cross_entropy(labels.raw, model(x).raw)),
            )

        def get_random_start(self, x0, epsilon):
            return eagerpy.astensor(tf.constant(start))

    attack = MultiLabelPGD(abs_stepsize=PGD["step_size"], steps=PGD["steps"], random_start=start is not None)
    # Not `attack(...)`, which asks of every image whether its one class has changed.
    criterion = foolbox.criteria.Misclassification(tf.constant(labels))
    return attack.run(foolbox_model(model), tf.constant(images), criterion, epsilon=PGD["epsilon"])


def foolbox_model(model):
    return peer("foolbox").TensorFlowModel(model, bounds=(0, 1), device="/CPU:0")


def test_fgsm_equals_cleverhans(model, batch):
    images, labels = batch
    theirs = peer("cleverhans.tf2.attacks.fast_gradient_method").fast_gradient_method(
        model, tf.constant(images), 0.05, loss_fn=losses.binary_cross_entropy, y=tf.constant(labels), **CLEVERHANS
    )
    assert_equal(model, labels, theirs, attacks.fgsm(model, images, labels, epsilon=0.05, precision="float32"))


def test_pgd_equals_cleverhans(model, batch):
    images, labels = batch
    theirs = peer("cleverhans.tf2.attacks.projected_gradient_descent").projected_gradient_descent(
        model,
        tf.constant(images),
        *PGD.values(),
        loss_fn=losses.binary_cross_entropy,
        y=tf.constant(labels),
        **CLEVERHANS,
    )
    assert_equal(model, labels, theirs, attacks.pgd(model, images, labels, **OURS, random_start=False))


def test_pgd_equals_art(art_classifier, model, batch):
    images, labels = batch
    attack = peer("art.attacks.evasion").ProjectedGradientDescent(
        art_classifier,
        eps=PGD["epsilon"],
        eps_step=PGD["step_size"],
        max_iter=PGD["steps"],
        batch_size=len(images),
        verbose=False,
    )
    theirs = attack.generate(images, labels)
    assert_equal(model, labels, theirs, attacks.pgd(model, images, labels, **OURS, random_start=False))


def test_pgd_equals_foolbox_with_our_loss(model, batch):
    images, labels = batch
    theirs = foolbox_pgd(model, images, labels)
    assert_equal(model, labels, theirs, attacks.pgd(model, images, labels, **OURS, random_start=False))


def test_pgd_equals_foolbox_from_the_same_random_start(model, batch):
    images, labels = batch
    # A step of length 0 leaves the start as it is.
    start = attacks.pgd(model, images, labels, **OURS | {"step_size": 0, "steps": 1}, seed=3)
    assert not unchanged(start, images).any()
    theirs = foolbox_pgd(model, images, labels, start)
    assert_equal(model, labels, theirs, attacks.pgd(model, images, labels, **OURS, seed=3))


def test_pgd_with_momentum_equals_cleverhans(model, batch, monkeypatch):
    images, labels = batch
    module = peer("cleverhans.tf2.attacks.momentum_iterative_method")
    # Its loss is no argument but a name in its module.
    monkeypatch.setattr(module, "loss_fn", losses.binary_cross_entropy)
    theirs = module.momentum_iterative_method(
        model, tf.constant(images), *PGD.values(), y=tf.constant(labels), decay_factor=1.0, **CLEVERHANS
    )
    assert_equal(model, labels, theirs, attacks.pgd(model, images, labels, **OURS, random_start=False, momentum=1.0))


def test_art_fgsm_leaves_images_without_findings_unchanged(art_classifier, model, batch):
    images, labels = batch
    attack = peer("art.attacks.evasion").FastGradientMethod(art_classifier, eps=0.05, batch_size=len(images))
    # It divides the labels of an image by their sum: 0 / 0 where there is no finding, and no step is taken along NaN.
    with pytest.warns(RuntimeWarning, match="invalid value encountered in divide"):
        theirs = attack.generate(images, labels)
    found = labels.any(axis=1)
    np.testing.assert_array_equal(unchanged(theirs, images), ~found)
    assert not unchanged(attacks.fgsm(model, images, labels, epsilon=0.05, precision="float32"), images).any()

    # With several findings each of them counts as a half, a third, ... of one.
    def divided(labels, logits):
        share = labels / tf.reduce_sum(labels, axis=-1, keepdims=True)
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=share, logits=logits), axis=-1)

    ours = attacks.fgsm(model, images[found], labels[found], epsilon=0.05, loss=divided, precision="float32")
    assert_equal(model, labels[found], theirs[found], ours)


def test_art_auto_pgd_leaves_most_images_without_findings_unchanged(art_classifier, model, batch):
    images, labels = batch
    attack = peer("art.attacks.evasion").AutoProjectedGradientDescent(
        art_classifier, eps=0.05, eps_step=0.1, max_iter=5, nb_random_init=1, batch_size=len(images), verbose=False
    )
    theirs = attack.generate(images, labels)
    # It takes the first label with the largest value for the class, label 0 if there is no finding, and attacks
    # an image only while that class has the highest logit.
    other_class = model(images, training=False).numpy().argmax(axis=1) != labels.argmax(axis=1)
    empty = labels.sum(axis=1) == 0
    assert (other_class & empty).sum() > empty.sum() / 2
    assert unchanged(theirs, images)[other_class].all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_foolbox_refuses_several_labels_per_image(model, batch, dtype):
    attack = peer("foolbox").attacks.LinfPGD(steps=1)
    with pytest.raises(ValueError, match="labels must be 1D"):
        attack(foolbox_model(model), *map(tf.constant, (batch[0], batch[1].astype(dtype))), epsilons=0.05)


def test_cleverhans_refuses_several_labels_per_image_unless_given_a_loss(model, batch):
    with pytest.raises(ValueError, match=r"labels\.shape"):
        peer("cleverhans.tf2.attacks.fast_gradient_method").fast_gradient_method(
            model, tf.constant(batch[0]), 0.05, y=tf.constant(batch[1]), **CLEVERHANS
        )


def test_torchattacks_climbs_the_softmax_loss_of_several_labels():
    torch = pytest.importorskip("torch", reason="PyTorch is compared with only where it is installed already")
    torchattacks = pytest.importorskip("torchattacks", reason="needs pip install --no-deps torchattacks")
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(64, 5)).astype(np.float32)
    images, labels = rng.random((40, 8, 8, 1), np.float32), (rng.random((40, 5)) < 0.3).astype(np.float32)
    assert {0, 1, 2} <= set(labels.sum(axis=1))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5, bias=False))
    network[1].weight.data = torch.tensor(weights.T.copy())
    attack = torchattacks.PGD(network, eps=0.05, alpha=0.01, steps=10, random_start=False)
    theirs = attack(torch.tensor(images.reshape(40, 1, 8, 8)), torch.tensor(labels)).numpy().reshape(images.shape)

    def linear(images, training=False):
        return tf.reshape(images, (-1, 64)) @ weights

    # TensorFlow's softmax loss takes for granted that labels sum to 1; PyTorch's does not.
    def soft_labels(labels, logits):
        return -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1)

    softmax = attacks.pgd(linear, images, labels, **OURS, random_start=False, loss=soft_labels)
    np.testing.assert_allclose(theirs, softmax, rtol=0, atol=1e-6)
    sigmoid = attacks.pgd(linear, images, labels, **OURS, random_start=False)
    empty = labels.sum(axis=1) == 0
    # Without a finding that loss is 0 whatever the logits.
    np.testing.assert_array_equal(unchanged(theirs, images), empty)
    assert (bce(linear, theirs, labels) < bce(linear, sigmoid, labels)).all()
