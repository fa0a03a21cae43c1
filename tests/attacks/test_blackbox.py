from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from chestrobust import attacks, losses, models
from chestrobust.attacks import blackbox

EPSILON = 0.05
BALL = {
    "noise": partial(blackbox.noise, epsilon=EPSILON),
    "worst noise": partial(blackbox.noise, epsilon=EPSILON, draws=5),
    "square": partial(blackbox.square, epsilon=EPSILON, queries=50),
}
ONE_PIXEL = {"one_pixel": partial(blackbox.one_pixel, popsize=10, maxiter=3)}
every_attack = pytest.mark.parametrize("attack", [pytest.param(v, id=k) for k, v in (BALL | ONE_PIXEL).items()])


class Linear:
    """Logits `images @ weights`: the worst image in a box is known in closed form."""

    def __init__(self, weights):
        self.weights = tf.constant(weights, tf.float32)
        self.calls = 0

    def __call__(self, images, training=False):
        assert training is False
        self.calls += 1
        return tf.reshape(images, (-1, self.weights.shape[0])) @ self.weights


class Recorder:
    """A model that keeps every batch it is shown."""

    def __init__(self, model):
        self.model, self.seen = model, []

    def __call__(self, images, training=False):
        tf.py_function(lambda x: self.seen.append(x.numpy()), [images], [])
        return self.model(images, training=training)


def flat(images, training=False):
    return tf.reduce_sum(0 * images, (1, 2, 3))[:, None]


def margin(model, images, labels):
    return losses.margin(tf.constant(labels, tf.float32), model(tf.cast(images, tf.float32), training=False)).numpy()


@pytest.fixture
def cnn():
    keras.utils.set_random_seed(0)
    return models.build_cnn((8, 8, 1), 3)


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    return rng.random((10, 8, 8, 1), np.float32), (rng.random((10, 3)) < 0.5).astype(np.float32)


@pytest.fixture
def exact():
    """A model and images whose sums have no rounding error in float32, in any order."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 65, (10, 8, 8, 1)).astype(np.float32) / 64
    return Linear(rng.integers(-8, 9, (64, 3))), images, rng.integers(0, 2, (10, 3))


@pytest.mark.parametrize("attack", [pytest.param(v, id=k) for k, v in BALL.items()])
@pytest.mark.parametrize("epsilon", [0.0, 8 / 255, 0.3, 1.0])
def test_results_stay_in_the_ball_and_in_the_pixel_range(cnn, batch, attack, epsilon):
    images, labels = batch
    images[0], images[1] = 0, 1
    adversarial = attack(models.logits(cnn), images, labels, epsilon=epsilon)
    assert np.abs(adversarial - images).max() <= epsilon + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    if epsilon == 0:
        np.testing.assert_array_equal(adversarial, images)
    else:
        assert np.abs(adversarial - images).max() > 0.9 * epsilon


@every_attack
@pytest.mark.parametrize("kind", ["float64", "float16", "tensor"])
def test_the_result_is_of_the_kind_shape_and_dtype_of_the_images(cnn, batch, attack, kind):
    images = tf.constant(batch[0]) if kind == "tensor" else batch[0].astype(kind)
    before = np.array(images)
    adversarial = attack(models.logits(cnn), images, batch[1])
    assert type(adversarial) is type(images)
    assert adversarial.shape == images.shape
    assert adversarial.dtype == images.dtype
    np.testing.assert_array_equal(images, before)


@every_attack
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(cnn, batch, attack):
    model = models.logits(cnn)
    first, again, other = (attack(model, *batch, seed=seed) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@every_attack
def test_results_do_not_depend_on_batches_or_pieces(exact, attack):
    model, images, labels = exact
    attack = partial(attack, model, **({"epsilon": 1 / 16} if "epsilon" in attack.keywords else {}))
    # Noise and new pixels are no multiples of 1/64, but only near-ties in their losses could go either way.
    whole = attack(images, labels)
    np.testing.assert_array_equal(attack(images, labels, batch_size=3), whole)
    pieces = [
        attack(images[at : at + 4], labels[at : at + 4], indices=np.arange(at, min(at + 4, 10))) for at in (0, 4, 8)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    alone = attack(images[7:8], labels[7:8], indices=[7])
    np.testing.assert_array_equal(alone[0], whole[7])


@every_attack
def test_equal_images_are_attacked_differently(cnn, attack):
    images, labels = np.full((4, 8, 8, 1), 0.5, np.float32), np.zeros((4, 3), np.float32)
    assert len({image.tobytes() for image in attack(models.logits(cnn), images, labels)}) == 4


@pytest.mark.parametrize("attack", [pytest.param(BALL["square"], id="square"), *ONE_PIXEL.values()])
@pytest.mark.parametrize("findings", [0, 1, None])
def test_the_loss_of_every_image_rises_with_any_findings(cnn, batch, attack, findings):
    images, labels = batch
    if findings is not None:
        labels = np.full_like(labels, findings)
    model = models.logits(cnn)
    assert (margin(model, attack(model, images, labels), labels) > margin(model, images, labels)).all()


@every_attack
def test_any_number_of_images_traces_the_model_once_at_most(batch, attack):
    model = Linear(np.ones((64, 3)))
    for count in (1, 10, 7, 3):
        attack(model, batch[0][:count], batch[1][:count], batch_size=4)
    assert model.calls <= 1


@every_attack
def test_the_model_is_not_changed(cnn, batch, attack):
    before = [variable.numpy().copy() for variable in cnn.variables]
    attack(models.logits(cnn), *batch)
    for variable, old in zip(cnn.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_square_comes_close_to_the_closed_form_optimum_of_a_linear_model(batch):
    weights = np.random.default_rng(0).normal(size=(64, 3))
    model, (images, labels) = Linear(weights), batch
    adversarial = blackbox.square(model, images, labels, epsilon=EPSILON, queries=500)
    direction = np.sign((1 - 2 * labels) @ weights.T).reshape(images.shape)
    optimum = np.clip(images + EPSILON * direction, 0, 1).astype(np.float32)
    clean, best, found = (margin(model, x, labels) for x in (images, optimum, adversarial))
    assert (found > clean + 0.95 * (best - clean)).all()
    assert (found <= best + 1e-5).all()


def test_square_lies_between_noise_and_pgd_on_a_smooth_model(batch):
    rng = np.random.default_rng(0)
    hidden, out = rng.normal(0, 0.2, (64, 16)), rng.normal(size=(16, 3))

    def model(images, training=False):
        return tf.tanh(tf.reshape(images, (-1, 64)) @ tf.constant(hidden, tf.float32)) @ tf.constant(out, tf.float32)

    images, labels = batch
    ascent = attacks.pgd(
        model, images, labels, epsilon=EPSILON, step_size=0.005, steps=20, loss=losses.margin, random_start=False
    )
    guesses = blackbox.square(model, images, labels, epsilon=EPSILON, queries=100)
    noise = blackbox.noise(model, images, labels, epsilon=EPSILON, draws=100)
    pgd, square, noise, clean = (margin(model, x, labels).mean() for x in (ascent, guesses, noise, images))
    assert clean < noise < square < pgd
    assert square - clean > 0.6 * (pgd - clean)


def test_square_finds_what_a_masked_gradient_hides_from_pgd(batch):
    linear = Linear(np.random.default_rng(0).normal(size=(64, 3)))

    def model(images, training=False):
        return linear(tf.round(images * 16) / 16, training=training)

    images, labels = batch
    clean = margin(model, images, labels)
    blind = attacks.pgd(model, images, labels, epsilon=EPSILON, step_size=0.01, steps=10, random_start=False)
    np.testing.assert_array_equal(blind, images)
    assert (margin(model, blackbox.square(model, images, labels, epsilon=EPSILON), labels) > clean + 1).all()


def test_more_queries_raise_the_loss_more(cnn, batch):
    model = models.logits(cnn)
    runs = [blackbox.square(model, *batch, epsilon=EPSILON, queries=queries) for queries in (1, 10, 100, 500)]
    means = [margin(model, images, batch[1]).mean() for images in (batch[0], *runs)]
    assert means == sorted(means)
    assert len(set(means)) == 5


def test_square_keeps_the_worst_of_the_images_it_tried(cnn, batch):
    images, labels = batch
    model = Recorder(models.logits(cnn))
    adversarial = blackbox.square(model, images, labels, epsilon=EPSILON, queries=40)
    # 40 queries, and one look at the clean images.
    assert [len(tried) for tried in model.seen] == [10] * 41
    tried = np.stack([margin(model.model, tried, labels) for tried in model.seen])
    np.testing.assert_allclose(margin(model.model, adversarial, labels), tried.max(0), atol=1e-6)
    # The loss climbs from image to image: each one differs from the worst before it, in one window.
    worst, worst_loss = model.seen[0], tried[0]
    for query in range(1, 40):
        changed = (model.seen[query] != worst).any((1, 2, 3))
        assert changed.all()
        better = tried[query] > worst_loss
        worst = np.where(better[:, None, None, None], model.seen[query], worst)
        worst_loss = np.where(better, tried[query], worst_loss)


def test_square_starts_from_vertical_stripes_of_each_channel():
    images = np.full((5, 8, 8, 3), 0.5, np.float32)
    model = Recorder(flat)
    blackbox.square(model, images, np.zeros((5, 1)), epsilon=0.25, queries=1)
    stripes = model.seen[0] - images
    assert set(np.unique(stripes)) == {-0.25, 0.25}
    np.testing.assert_array_equal(stripes, np.broadcast_to(stripes[:, :1], stripes.shape))
    # Columns, channels and images each have a sign of their own.
    assert all(stripes[:, 0].std(axis).min() < 0.25 and stripes[:, 0].std(axis).max() > 0 for axis in (0, 1, 2))


def test_windows_shrink_on_the_schedule_of_the_paper_and_reach_every_pixel():
    images = np.full((6, 8, 8, 3), 0.5, np.float32)
    model = Recorder(flat)
    adversarial = blackbox.square(model, images, np.zeros((6, 1)), epsilon=0.25, queries=100)
    # On a flat loss every window is tried on the stripes again, and in the end nothing was gained.
    np.testing.assert_array_equal(adversarial, images)
    changes = np.stack(model.seen[1:100]) != model.seen[0]
    rows, columns = changes.any((3, 4)), changes.any((2, 4))
    # Side of the square of area 0.8 * 64 / 2^k, rounded, for the number k of 10, 50, 200, 500, 1000, ... (of 10,000)
    # that lie before query * 100: sqrt(51.2), sqrt(12.8) twice, sqrt(6.4) x 3, sqrt(3.2) x 5, sqrt(1.6) x 10, then < 1.
    sides = [7, 4, 4, 3, 3, 3, 2, 2, 2, 2, 2] + [1] * 88
    np.testing.assert_array_equal(rows.sum(2), np.tile(np.array(sides)[:, None], 6))
    assert (columns.sum(2) <= np.array(sides)[:, None]).all()
    assert rows[11:].any((0, 1)).all()
    assert columns[11:].any((0, 1)).all()
    # In a window every channel has one sign, and channels may differ.
    signs = np.where(changes, np.sign(np.stack(model.seen[1:100]) - images), 0)
    up, down = (signs > 0).any((2, 3)), (signs < 0).any((2, 3))
    assert not (up & down).any()
    assert (up.any(-1) & down.any(-1)).any()


def test_p_init_is_the_area_of_the_first_window():
    images = np.full((1, 8, 8, 1), 0.5, np.float32)
    sides = []
    for p_init in (0.1, 0.3, 1.0):
        model = Recorder(flat)
        blackbox.square(model, images, np.zeros((1, 1)), epsilon=0.1, queries=2, p_init=p_init)
        sides.append((model.seen[1] != model.seen[0]).any((0, 2, 3)).sum())
    # sqrt(6.4), sqrt(19.2), sqrt(64), rounded.
    assert sides == [3, 4, 8]


@every_attack
def test_wide_images_in_colour_and_classes_are_attacked_by_their_own_loss(attack):
    rng = np.random.default_rng(0)
    images, labels = rng.random((6, 4, 10, 3), np.float32), np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    model = Linear(rng.normal(size=(120, 4)))

    def class_margin(x):
        return losses.class_margin(labels, model(x)).numpy()

    adversarial = attack(model, images, labels, loss=losses.class_margin)
    assert adversarial.shape == images.shape
    assert (adversarial != images).any((1, 2, 3)).all()
    if attack.func is not blackbox.noise:
        assert (class_margin(adversarial) > class_margin(images)).all()
        targeted = attack(model, images, labels, loss=losses.toward(losses.class_margin))
        assert (class_margin(targeted) < class_margin(images)).all()


def test_noise_is_uniform_clipped_and_asks_no_model():
    images = np.full((20, 16, 16, 3), 0.5, np.float32)
    images[10:] = 1
    changes = blackbox.noise(None, images, np.zeros((20, 1)), epsilon=0.1) - images
    # Uniform in [-a, a]: mean 0, standard deviation a / sqrt(3), a quarter of the values above a / 2.
    assert abs(changes[:10].mean()) < 0.003
    assert changes[:10].std() == pytest.approx(0.1 / np.sqrt(3), rel=0.02)
    assert (changes[:10] > 0.05).mean() == pytest.approx(0.25, abs=0.02)
    # White pixels can't get brighter: half of them stay.
    assert (changes[10:] == 0).mean() == pytest.approx(0.5, abs=0.03)


def test_more_draws_of_noise_never_lower_the_loss(cnn, batch):
    model = models.logits(cnn)
    runs = [blackbox.noise(model, *batch, epsilon=EPSILON, draws=draws) for draws in (1, 2, 20)]
    one, two, many = (margin(model, images, batch[1]) for images in runs)
    assert (one <= two + 1e-6).all()
    assert (two <= many + 1e-6).all()
    assert (many > one).any()


@pytest.mark.parametrize(("label", "value"), [(0, 1), (1, 0)])
def test_one_pixel_finds_the_only_pixel_that_matters(label, value):
    images = np.full((3, 8, 6, 2), 0.5)
    adversarial = blackbox.one_pixel(lambda images, training: images[:, 7, 5, 1:], images, np.full((3, 1), label))
    # How near the search comes to the end, from 0.5, differs between versions of SciPy.
    assert (np.abs(adversarial[:, 7, 5, 1] - value) < 0.2).all()
    others = np.ones((8, 6), bool)
    others[7, 5] = False
    np.testing.assert_array_equal(adversarial[:, others], images[:, others])


@pytest.mark.parametrize("pixels", [1, 3])
def test_one_pixel_changes_no_more_pixels_than_allowed(batch, pixels):
    # float64: what passes through float32 comes back changed.
    images = np.random.default_rng(1).random((10, 8, 8, 3))
    model = Linear(np.random.default_rng(0).normal(size=(192, 3)))
    adversarial = blackbox.one_pixel(model, images, batch[1], pixels=pixels, popsize=20, maxiter=5)
    changed = (adversarial != images).any(-1).sum((1, 2))
    assert changed.max() == pixels
    assert changed.min() >= 1
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_more_generations_never_lower_the_loss_and_cost_what_they_should(cnn, batch):
    images, labels = batch[0][:3], batch[1][:3]
    recorder = Recorder(models.logits(cnn))
    found = []
    for maxiter in (1, 5, 20):
        recorder.seen.clear()
        adversarial = blackbox.one_pixel(recorder, images, labels, popsize=10, maxiter=maxiter, batch_size=4)
        found.append(margin(recorder.model, adversarial, labels))
        assert sum(len(tried) for tried in recorder.seen) == 3 * (10 * (maxiter + 1) + 1)
        assert max(len(tried) for tried in recorder.seen) == 4
    assert (found[0] <= found[1] + 1e-6).all()
    assert (found[1] <= found[2] + 1e-6).all()
    assert found[2].sum() > found[0].sum()


@pytest.mark.parametrize("attack", [pytest.param(BALL["square"], id="square"), *ONE_PIXEL.values()])
def test_images_that_cannot_be_made_worse_stay_clean(batch, attack):
    images = np.full_like(batch[0], 0.5)
    adversarial = attack(
        lambda images, training: -tf.reduce_sum((images - 0.5) ** 2, (1, 2)), images, np.zeros((10, 1))
    )
    np.testing.assert_array_equal(adversarial, images)


@pytest.mark.parametrize(
    ("attack", "change", "message"),
    [
        (blackbox.noise, {"epsilon": -0.1}, "epsilon=-0.1"),
        (blackbox.noise, {"draws": 0}, "draws=0"),
        (blackbox.square, {"epsilon": 8}, "8 / 255.*epsilon=8"),
        (blackbox.square, {"epsilon": np.nan}, "epsilon=nan"),
        (blackbox.square, {"queries": 0}, "queries=0"),
        (blackbox.square, {"p_init": 0}, "p_init=0"),
        (blackbox.square, {"p_init": 1.5}, "p_init=1.5"),
        (blackbox.square, {"images": np.full((10, 8, 8, 1), 255, np.float32)}, "maximum 255"),
        (blackbox.square, {"labels": np.zeros((9, 3))}, r"\(9, 3\)"),
        (blackbox.one_pixel, {"pixels": 0}, "pixels=0"),
        (blackbox.one_pixel, {"popsize": 4}, "popsize=4"),
        (blackbox.one_pixel, {"maxiter": 0}, "maxiter=0"),
        (blackbox.one_pixel, {"images": np.zeros((8, 8), np.float32)}, r"\(8, 8\)"),
    ],
)
def test_bad_arguments_are_refused_with_the_value_received(cnn, batch, attack, change, message):
    radius = {} if attack is blackbox.one_pixel else {"epsilon": EPSILON}
    with pytest.raises(ValueError, match=message):
        attack(models.logits(cnn), **{"images": batch[0], "labels": batch[1], **radius, **change})
