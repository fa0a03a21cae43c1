"""Maps with known answers, and `explain.py` as a user runs it on a model trained in seconds."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_splits
from PIL import Image
from scipy.stats import spearmanr

import explain
from chestrobust import config, data, models, runs
from chestrobust.config import trained
from chestrobust.errors import ExpectedError
from chestrobust.evaluation import metrics, patients
from chestrobust.explaining import attributions, boxes
from chestrobust.reporting import figures, story

layers = keras.layers


def write_npz(path, splits):
    arrays = {}
    for part, split in splits.parts.items():
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": split.labels}
    np.savez(path, **arrays)


def copying(nested=False):
    """A model whose two features are the image and its opposite, and whose two logits are their means.

    So Grad-CAM of logit 0 must be the image, up to a factor, and that of logit 1 zero.
    """
    inner = layers.Input((4, 4, 1))
    features = layers.Conv2D(2, 1, name="features", use_bias=False)(inner)
    pooled = layers.GlobalAveragePooling2D(name="average")(features)
    outputs = layers.Dense(2, use_bias=False, name="logits")
    if nested:
        images = layers.Input((4, 4, 1))
        pooled = keras.Model(inner, pooled, name="backbone")(images)
    else:
        images = inner
    model = keras.Model(images, outputs(pooled))
    model.set_weights([np.float32([[[[1, -1]]]]), np.eye(2, dtype=np.float32)])
    return model


@pytest.mark.parametrize("nested", [False, True])
def test_grad_cam_of_a_model_that_copies_the_image_is_the_image(nested):
    model, images = copying(nested), np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    maps = attributions.grad_cam(model, images, [0, 0, 1])
    # The logit is the mean of feature 0, so that feature's weight, the mean of its gradient, is 1 / 16.
    np.testing.assert_allclose(maps[:2], images[:2, ..., 0] / 16, rtol=1e-5)
    np.testing.assert_array_equal(maps[2], 0)


def test_the_layer_is_the_last_whose_output_is_an_image_and_can_be_chosen():
    assert attributions.feature_layer(models.build_cnn((8, 8, 1), 3)) == "relu3"
    assert attributions.feature_layer(copying(nested=True)) == "backbone/features"
    model, images = models.build_cnn((8, 8, 1), 3), np.ones((1, 8, 8, 1), np.float32)
    assert attributions.grad_cam(model, images, [0], layer="relu1").shape == (1, 8, 8)
    with pytest.raises(ExpectedError, match=r"relu9.*conv1"):
        attributions.grad_cam(model, images, [0], layer="relu9")
    # The image that is only rescaled is no feature of the model.
    embedding = keras.Sequential([layers.Input((8, 8, 1)), layers.Reshape((4, 16)), layers.Dense(5, name="embed")])
    head = [layers.Flatten(), layers.Dense(3)]
    transformer = keras.Sequential([layers.Input((8, 8, 1)), layers.Rescaling(2), embedding, *head])
    assert attributions.feature_layer(transformer) == f"{embedding.name}/embed"
    dense = keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ExpectedError, match="rows, columns"):
        attributions.grad_cam(dense, images, [0])


def test_tokens_are_put_back_in_their_places():
    inputs = layers.Input((3, 3, 1))
    tokens = layers.ZeroPadding1D((1, 0))(layers.Reshape((9, 1))(inputs))  # A class token stands before the patches.
    model = keras.Model(inputs, layers.Dense(1, kernel_initializer="ones")(layers.GlobalAveragePooling1D()(tokens)))
    images = np.random.default_rng(0).random((1, 3, 3, 1), np.float32)
    maps = attributions.grad_cam(model, images, [0], layer=model.layers[2].name)
    np.testing.assert_allclose(maps, images[..., 0] / 10, rtol=1e-5)


def test_explaining_leaves_the_model_as_it_was():
    model, images = copying(nested=True), np.ones((1, 4, 4, 1), np.float32)
    before = model(images).numpy()
    attributions.grad_cam(model, images, [0])
    assert [layer.name for layer in model.layers][1:] == ["backbone", "logits"]
    np.testing.assert_array_equal(model(images).numpy(), before)


def test_integrated_gradients_of_a_linear_model_are_its_weights_times_the_image():
    rng = np.random.default_rng(0)
    model = keras.Sequential([layers.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)])
    weights, images = rng.normal(size=(16, 2)).astype(np.float32), rng.random((3, 4, 4, 1), np.float32)
    model.set_weights([weights, np.float32([5, -5])])
    found, pairs = attributions.integrated_gradients(model, images, [0, 1, 1], steps=1, baseline=0.25)
    expected = (images - 0.25) * weights.T[[0, 1, 1]].reshape(3, 4, 4, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], rtol=1e-4)


def test_integrated_gradients_are_complete_with_enough_steps():
    keras.utils.set_random_seed(0)
    model = models.logits(models.build_cnn((8, 8, 1), 3))
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:  # Without offsets, a ReLU network is linear on the way from black.
        if weight.name in ("bias", "beta"):
            weight.assign(rng.normal(size=weight.shape))
    images = rng.random((5, 8, 8, 1), np.float32)
    labels, black = np.array([0, 1, 2, 0, 1]), np.zeros((1, 8, 8, 1), np.float32)
    contributions, pairs = attributions.integrated_gradients(model, images, labels, steps=256)
    difference = (model(images).numpy() - model(black).numpy())[np.arange(5), labels]
    np.testing.assert_allclose(pairs[:, 1], difference, rtol=1e-5)
    np.testing.assert_allclose(contributions.sum(axis=(1, 2, 3)), difference, rtol=0.01, atol=1e-3)
    rough = attributions.integrated_gradients(model, images, labels, steps=1)[1]
    assert np.abs(rough[:, 0] - difference).max() > np.abs(pairs[:, 0] - difference).max()


def test_similarities_agree_with_scipy_and_leave_empty_maps_undefined():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4, 4)), rng.random((3, 4, 4)).round(1)
    b[2] = 0
    ranks = attributions.rank_correlation(a, b)
    np.testing.assert_allclose(ranks[:2], [spearmanr(a[i].ravel(), b[i].ravel()).statistic for i in range(2)])
    np.testing.assert_allclose(attributions.cosine(a, 3 * a), 1)
    assert np.isnan([ranks[2], attributions.cosine(a, b)[2]]).all()


def test_mean_interval_leaves_out_what_is_undefined_and_resamples_patients():
    values = np.append(np.random.default_rng(0).normal(size=200), np.nan)
    mean, low, high = metrics.mean_interval(values)
    assert mean == pytest.approx(np.nanmean(values))
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.2)
    one_patient = metrics.mean_interval(values, patients=np.zeros(201))
    assert one_patient == pytest.approx((mean, mean, mean))
    assert np.isnan(metrics.mean_interval(np.full(3, np.nan))).all()


def test_shares_inside_a_box_and_the_pointing_game():
    maps = np.zeros((3, 4, 4))
    maps[0, 1, 2] = 3
    maps[0, 3, 3] = 1
    maps[1] = 1
    # Left, top, right, bottom: the second box cuts pixels in halves, the third map is empty.
    places = np.array([[2, 1, 3, 2], [0.5, 0, 2, 2], [0, 0, 4, 4]])
    np.testing.assert_allclose(boxes.mass_inside(maps, places), [0.75, 3 / 16, 0])
    np.testing.assert_array_equal(boxes.points_inside(maps, places), [1, 1, 0])
    np.testing.assert_array_equal(boxes.points_inside(maps[:1], np.array([[3, 1, 4, 2]])), [0])
    np.testing.assert_allclose(boxes.area(places, (4, 4)), [1 / 16, 3 / 16, 1])


@pytest.fixture
def boxed_folder(tmp_path):
    """Two images, one of which has two boxes, as NIH ships them."""
    (tmp_path / "images_001" / "images").mkdir(parents=True)
    for name in ("00000001_000.png", "00000002_000.png"):
        Image.fromarray(np.full((64, 64), 100, np.uint8)).save(tmp_path / "images_001" / "images" / name)
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels\n00000001_000.png,Mass|Infiltration\n00000002_000.png,Effusion\n"
    )
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Mass,512,256,128,64\n"
        "00000001_000.png,Infiltrate,0,0,1024,1024\n00000009_000.png,Mass,1,1,1,1\n00000002_000.png,Effusion,0,0,64,64\n"
    )
    return tmp_path


def test_boxes_are_scaled_with_their_images(boxed_folder):
    found = boxes.load(boxed_folder / "BBox_List_2017.csv", 32)
    assert found.images.shape == (3, 32, 32, 1)
    np.testing.assert_allclose(found.boxes, [[16, 8, 20, 10], [0, 0, 32, 32], [0, 0, 2, 2]])
    np.testing.assert_array_equal(found.found, [4, 3, 2])
    np.testing.assert_array_equal(np.flatnonzero(found.labels[0]), [3, 4])


def test_boxes_are_found_where_folders_of_images_are_links(boxed_folder, tmp_path):
    disk = tmp_path.with_name(f"{tmp_path.name}-disk")
    (boxed_folder / "images_001").rename(disk)
    (boxed_folder / "images_001").symlink_to(disk)
    assert len(boxes.load(boxed_folder / "BBox_List_2017.csv", 32).files) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Image Index,Finding Label\na.png,Mass\n", "Bbox"),
        ("Image Index,Finding Label,Bbox [x,y,w,h]\n00000009_000.png,Mass,1,1,1,1\n", "none of them"),
        ("Image Index,Finding Label,Bbox [x,y,w,h]\n00000001_000.png,Mass,1,one,1,1\n", "'one'"),
        ("Image Index,Finding Label,Bbox [x,y,w,h]\n00000001_000.png,Mass,nan,1,1,1\n", "'nan'"),
        ("Image Index,Finding Label,Bbox [x,y,w,h]\n00000001_000.png,Headache,1,1,1,1\n", "headache"),
    ],
)
def test_other_lists_of_boxes_are_refused(boxed_folder, text, message):
    (boxed_folder / "BBox_List_2017.csv").write_text(text)
    with pytest.raises(ExpectedError, match=message):
        boxes.load(boxed_folder / "BBox_List_2017.csv", 32)


def test_the_sample_boxes_lie_in_their_images(samples):
    found = boxes.load(samples / "nih_folder" / "BBox_List_2017.csv", 256)
    assert len(found.images) == 23
    assert len(set(found.files)) == 19
    assert (found.boxes >= 0).all()
    assert (found.boxes <= 256).all()
    assert found.labels[np.arange(23), found.found].all()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with `data.npz` and two finished runs, `one` and `two`, of models trained for seconds."""
    path = tmp_path_factory.mktemp("explain")
    splits = make_splits((24, 16, 20), size=28, num_labels=14)
    write_npz(path / "data.npz", splits)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        about = data.load("data.npz", data_dir="cache").summary()
        for number, name in enumerate(("one", "two")):
            options = config.BaselineConfig(data="data.npz", data_dir="cache", run=name, epsilon=0.1, steps=2)
            run = runs.Run(Path(name))
            run.start(options)
            keras.utils.set_random_seed(number)
            classifier = models.build_cnn((28, 28, 1), 14)
            classifier.compile("adam", "binary_crossentropy")
            classifier.fit(splits.train.images / 255, splits.train.labels, epochs=3, verbose=0)
            classifier.save(run.path / "model.keras")
            run.write(
                "history.csv", "epoch,auc,learning_rate,loss,val_auc,val_loss\n0,.5,.1,1,.6,.9\n1,.6,.1,.9,.5,1\n"
            )
            training = {"best_epoch": 1}
            results = {"data": about, "thresholds": {}, "evaluations": [], "training": training}
            run.write("results.json", json.dumps({**results, "config": dataclasses.asdict(options)}))
    return path


def test_every_view_of_one_model_is_written(here, monkeypatch, capsys, boxed_folder):
    monkeypatch.chdir(here)
    listed = str(boxed_folder / "BBox_List_2017.csv")
    quick = [
        "--path-steps",
        "2",
        "--resamples",
        "20",
        "--limit",
        "12",
        "--images",
        "2",
        "--epsilons",
        "0.05",
        "--step-sizes",
        "0.01",
    ]
    explain.main(["one", "--show", *trained.SHOWN, "--boxes", listed, *quick])
    printed = capsys.readouterr().out
    folder = here / "one" / "explanations"
    for name in ("gallery-epsilon", "gallery-step-size", "features", "confusion", "reliability", "curves"):
        assert (folder / f"{name}.png").stat().st_size > 5_000
        assert "<svg" in (folder / f"{name}.svg").read_text()
    assert (folder / "metrics.txt").read_text().strip() in printed
    similar = json.loads((folder / "similarity.json").read_text())
    assert similar["images"] == 12
    assert (similar["attack"]["epsilon"], similar["attack"]["steps"]) == (0.1, 2)
    assert -1 <= similar["similarity"][1]["cosine"]["low"] <= similar["similarity"][1]["cosine"]["mean"] <= 1
    assert json.loads((folder / "boxes.json").read_text())["boxes"] == 3


def test_views_of_other_data_leave_the_own_ones_as_they_are(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    write_npz(here / "other.npz", make_splits((12, 8, 8), size=28, num_labels=14, seed=5))
    explain.main(["one", "--data", "other.npz", "--path-steps", "2"])
    folder = here / "one" / "explanations" / "other"
    assert f"Figure: {folder.relative_to(here)}/explanation" in capsys.readouterr().out
    assert len(list(folder.glob("explanation-*.png"))) == 1


def test_two_models_are_explained_side_by_side(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    explain.main(["one", "two", "--image", "3", "--label", "mass", "--path-steps", "16", "--epsilon", "0.02"])
    printed = capsys.readouterr().out
    assert printed.count("attributions sum to") == 4
    assert "image 3" in printed
    assert "each model is attacked for itself" in printed
    assert (here / "one" / "explanations" / "explanation-3-mass.png").stat().st_size > 20_000


def test_each_model_is_attacked_for_itself_and_has_a_scale_of_its_own(here, monkeypatch):
    monkeypatch.chdir(here)
    drawn = []
    monkeypatch.setattr(figures, "explanation", lambda rows, title: drawn.extend(rows) or figures.headed(title, (2, 2)))
    explain.main(["one", "two", "--image", "3", "--path-steps", "4", "--epsilon", "0.1"])
    assert [name.partition(",")[0] for name, *_ in drawn] == ["one: clean", "one: PGD-2", "two: clean", "two: PGD-2"]
    assert [colour for _, colour, _ in drawn] == [*[figures.COLOURS[0]] * 2, *[figures.COLOURS[1]] * 2]
    images = [next(iter(panels.values()))[1] for *_, panels in drawn]
    np.testing.assert_array_equal(images[0], images[2])
    assert np.abs(images[1] - images[3]).max() > 0.01
    assert np.abs(images[1] - images[0]).max() == pytest.approx(0.1, abs=1e-6)
    signed = [[values for kind, _, values in panels.values() if kind == "signed"] for *_, panels in drawn]
    for clean, attacked in (signed[:2], signed[2:]):
        assert np.quantile(np.abs([clean[0], attacked[0]]), 0.995) == pytest.approx(1)
    for first, (second, difference) in zip(signed[:2], signed[2:], strict=True):
        np.testing.assert_allclose(difference, second - first[0], atol=1e-6)


def test_the_reliability_of_two_models_is_drawn_together(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    explain.main(["one", "two", "--show", "reliability", "--limit", "12"])
    assert "reliability.png" in capsys.readouterr().out


def test_a_patient_is_drawn_through_both_models_with_how_often_the_attack_succeeds(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    drawn = []
    original = story.draw
    monkeypatch.setattr(
        story, "draw", lambda models, *_, **texts: drawn.append((models, texts)) or original(models, *_, **texts)
    )
    explain.main(["one", "two", "--show", "patient", "--image", "3"])
    [(models, texts)], said = drawn, capsys.readouterr().out
    assert [one.name for one in models] == ["one", "two"]
    assert "test image 3" in texts["title"]
    assert "The patient: chosen by its number." in texts["note"]
    assert "patient-3.png" in said and Path("one/explanations/patient-3.svg").is_file()
    explain.main(["two", "--show", "patient"])
    assert patients.RULE in drawn[-1][1]["note"]


@pytest.mark.parametrize("view", [view for view in trained.SHOWN if view not in trained.OF_TWO])
def test_views_of_one_model_refuse_a_second(here, monkeypatch, view):
    monkeypatch.chdir(here)
    with pytest.raises(ExpectedError, match=rf"--show {view}: expected one model. Received two too."):
        explain.main(["one", "two", "--show", "explanation", view])


@pytest.mark.parametrize("option", [("--label", "headache"), ("--image", "20")])
def test_what_the_data_do_not_have_is_refused_before_tensorflow_starts(here, monkeypatch, option):
    monkeypatch.chdir(here)
    monkeypatch.setattr(explain.devices, "start", lambda: pytest.fail("started"))
    with pytest.raises(ExpectedError, match=option[0]):
        explain.main(["one", *option])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "finished run"),
        (["one", "--label", "headache"], "headache"),
        (["one", "--image", "20"], "below 20"),
        (["one", "--show", "patient", "--image", "20"], "below 20"),
        (["one", "--show", "boxes"], "--boxes"),
        (["one", "--layer", "dense"], "rows, columns"),
        (["one", "--layer", "conv1/x"], "'conv1' with layers inside"),
        (["one", "--layer", "conv9"], "conv9"),
        (["one/history.keras"], "nothing there"),
    ],
)
def test_bad_input_is_an_expected_error(here, monkeypatch, arguments, message):
    monkeypatch.chdir(here)
    with pytest.raises(ExpectedError, match=message):
        explain.main([*arguments, "--path-steps", "2"])
