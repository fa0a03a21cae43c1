import hashlib
import json
import os

import numpy as np
import pytest

from chestrobust import catalogue, data
from chestrobust.data.sources import fingerprint, medmnist_npz
from chestrobust.data.splits import Split, selection
from chestrobust.errors import DataError

BAD = {
    "truncated.npz": ["train_images", "zip"],
    "missing_test_labels.npz": ["test_labels", "train_images"],
    "labels_wrong_length.npz": ["train_labels", "(24, 14)", "(21, 14)"],
    "labels_13_columns.npz": ["train_labels", "(24, 14)", "(24, 13)"],
    "float_nan_images.npz": ["train_images", "uint8", "float32"],
    "rgb_images.npz": ["train_images", "uint8 (count, S, S)", "(24, 28, 28, 3)"],
    "empty_val_split.npz": ["val_images", "at least one image", "(0, 28, 28)"],
    "html_download.npz": ["train_images", "zip", "<!DOCTYPE"],
    "pickled_object.npz": ["train_images", "numeric"],
    "not_an_image.png": ["train_images", "zip"],
    "empty.png": ["train_images", "0 bytes"],
    "truncated.png": ["train_images", "zip", "PNG"],
}


def arrays(count=6, size=28, channels=(), columns=14, high=2, seed=0):
    """The six arrays of a valid file."""
    rng = np.random.default_rng(seed)
    return {
        f"{part}_{kind}": rng.integers(0, 256, (count, size, size, *channels), dtype=np.uint8)
        if kind == "images"
        else rng.integers(0, high, (count, columns), dtype=np.uint8)
        for part in ("train", "val", "test")
        for kind in ("images", "labels")
    }


def write(path, **changes):
    content = {**arrays(), **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


@pytest.fixture
def load(tmp_path):
    """Loads a path with its checksums remembered in a temporary folder."""
    return lambda path, **settings: data.load(str(path), data_dir=tmp_path / "data", **settings)


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_is_refused_in_one_line_that_names_file_key_and_value(name, samples, load):
    with pytest.raises(DataError) as error:
        load(samples / "bad" / name)
    message = str(error.value)
    assert "\n" not in message
    for part in [name, "expected", "Received", *BAD[name]]:
        assert part.lower() in message.lower()


def test_the_list_of_bad_files_is_complete(samples):
    assert {path.name for path in (samples / "bad").iterdir()} == {*BAD, "control_valid.npz"}


def test_pickles_are_never_opened(samples, load):
    with pytest.raises(DataError):
        load(samples / "bad" / "pickled_object.npz")
    assert not os.path.exists("/tmp/PWNED")


def test_the_valid_control_loads(samples, load):
    splits = load(samples / "bad" / "control_valid.npz")
    assert [len(split) for split in splits.parts.values()] == [24, 8, 8]
    assert splits.task == "multi-label"
    assert not splits.synthetic


def test_images_and_labels_are_those_of_the_file(tmp_path, load):
    content = arrays()
    splits = load(write(tmp_path / "mine.npz"))
    for part, split in splits.parts.items():
        assert split.images.dtype == split.labels.dtype == np.uint8
        np.testing.assert_array_equal(split.images[..., 0], content[f"{part}_images"])
        np.testing.assert_array_equal(split.labels, content[f"{part}_labels"])
    assert splits.image_shape == (28, 28, 1)
    assert splits.sha256 == hashlib.sha256((tmp_path / "mine.npz").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("key", "value", "received"),
    [
        ("val_labels", np.full((6, 14), 2, np.uint8), "0 to 2|2 to 2"),
        ("val_labels", np.full((6, 14), -1, np.int8), "-1"),
        ("val_labels", np.zeros((6, 14), np.float32), "float32"),
        ("test_images", np.zeros((6, 28, 30), np.uint8), "28, 30"),
        ("test_images", np.zeros((6, 28 * 28), np.uint8), "784"),
        ("train_images", np.zeros((6, 28, 28), ">u2"), "u2|uint16"),
        ("train_labels", np.zeros(6, np.uint8), r"\(6,\)"),
        ("test_images", None, "keys"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, load, key, value, received):
    with pytest.raises(DataError, match=received) as error:
        load(write(tmp_path / "mine.npz", **{key: value}))
    assert key in str(error.value)


def test_splits_of_different_sizes_are_refused(tmp_path, load):
    path = write(tmp_path / "mine.npz", val_images=np.zeros((6, 64, 64), np.uint8))
    with pytest.raises(DataError, match=r"val.*64"):
        load(path)


def test_size_is_read_from_the_file_and_a_contradiction_is_refused(tmp_path, load):
    path = write(tmp_path / "chestmnist_28.npz")
    assert load(path, size=28).image_shape == load(path).image_shape
    with pytest.raises(DataError, match=r"64.*Received.*28.*--size"):
        load(path, size=64)


def test_the_stem_of_a_path_tells_the_set(tmp_path, load):
    binary = load(write(tmp_path / "pneumoniamnist_28.npz", **arrays(columns=1)))
    assert (binary.task, binary.label_names) == ("binary", ("pneumonia",))
    with pytest.raises(DataError, match=r"\(6, 14\).*\(6, 1\)"):
        load(write(tmp_path / "other.npz", **arrays(columns=1)))


def test_multi_class_and_rgb_sets_become_one_hot_and_keep_their_colours(tmp_path, load):
    pytest.importorskip("medmnist.info", reason="needs medmnist: make setup installs it")
    splits = load(write(tmp_path / "bloodmnist.npz", **arrays(channels=(3,), columns=1, high=8)))
    assert (splits.task, len(splits.label_names), splits.image_shape) == ("multi-class", 8, (28, 28, 3))
    np.testing.assert_array_equal(splits.train.labels.sum(axis=1), 1)
    np.testing.assert_array_equal(
        splits.train.labels.argmax(axis=1), arrays(channels=(3,), columns=1, high=8)["train_labels"][:, 0]
    )


@pytest.mark.parametrize("where", ["option", "file", "bytes"])
@pytest.mark.parametrize(
    ("names", "columns", "high", "task"),
    [
        (("nodule", "mass", "Röntgen"), 3, 2, "multi-label"),
        (("covid",), 1, 2, "binary"),
        (("a", "b", "c"), 1, 3, "multi-class"),
        (("normal", "ill"), 1, 2, "multi-class"),
    ],
)
def test_labels_of_ones_own_are_named_by_option_or_file(tmp_path, load, where, names, columns, high, task):
    content = arrays(columns=columns, high=high, channels=(3,))
    given = {}
    if where == "option":
        given = {"labels": ",".join(names)}
    else:
        content["label_names"] = np.array([name.encode() for name in names] if where == "bytes" else names)
    # The stem of another set decides only where nothing else does.
    splits = load(write(tmp_path / "pneumoniamnist.npz", **content), **given)
    assert (splits.task, splits.label_names, splits.image_shape) == (task, names, (28, 28, 3))
    assert "release" not in splits.note  # there is none of a set of one's own
    expected = content["train_labels"]
    expected = np.eye(len(names), dtype=np.uint8)[expected[:, 0]] if task == "multi-class" else expected
    np.testing.assert_array_equal(splits.train.labels, expected)


def test_a_flat_column_of_labels_is_enough(tmp_path, load):
    content = arrays(columns=1)
    content |= {key: value[:, 0] for key, value in content.items() if key.endswith("labels")}
    np.testing.assert_array_equal(
        load(write(tmp_path / "x.npz", **content), labels=["ill"]).val.labels[:, 0], content["val_labels"]
    )


@pytest.mark.parametrize(
    ("labels", "array", "received"),
    [
        ("a,b", None, r"expected 2 columns, one for each of a, b, or one with .*\(6, 14\)"),
        ("a,,b", None, "--labels: expected a different, printable name for each label. Received: '' among"),
        ("a,a", None, "--labels: expected a different, printable name"),
        (None, ["a", "a\x1b[2J"], "label_names: expected a different, printable name"),
        (None, [["a", "b"]], r"label_names: expected 1 to 1000 names.*\(1, 2\)"),
        (None, ["a" * 200], "of at most 100 letters"),
        (None, [1, 2], "label_names: expected"),
        (None, [b"a\xff", b"b"], "label_names: expected names in Unicode"),
        (None, np.array([2**31 - 1, 65], "<i4").view("<U1"), "label_names: expected names in Unicode"),
        (None, np.array([None, "a"], object), "pickled"),
    ],
)
def test_names_that_fit_no_labels_are_refused(tmp_path, load, labels, array, received):
    with pytest.raises(DataError, match=received):
        load(write(tmp_path / "mine.npz", **({} if array is None else {"label_names": array})), labels=labels)


def test_labels_are_named_of_files_alone_and_a_strangers_file_says_how(tmp_path, load):
    with pytest.raises(DataError, match=r"--labels: expected --data with the path of an .npz file. Received phantom"):
        load("phantom", labels="a")
    with pytest.raises(DataError, match=r"\(6, 14\).*\(6, 5\)\. Labels other than ChestMNIST's are named by --labels"):
        load(write(tmp_path / "mine.npz", **arrays(columns=5)))
    with pytest.raises(DataError, match=r"\(6, 28, 28, 3\)\. Labels other than ChestMNIST's are named by --labels"):
        load(write(tmp_path / "mine.npz", **arrays(channels=(3,))))


def test_test_images_that_are_training_images_are_said_each_time_and_noted(tmp_path, load, capsys):
    images = arrays()["test_images"]
    images[2], images[5] = arrays()["train_images"][4], arrays()["val_images"][0]
    path = write(tmp_path / "chestmnist.npz", test_images=images)
    for _ in range(2):
        splits = load(path)
        assert splits.note == "not the official release, 2 test images also in train"
        assert "chestmnist: 2 test images are in the training or validation images too" in capsys.readouterr().out
    remembered = json.loads((tmp_path / "data" / "checksums.json").read_text())
    assert remembered[str(path.resolve())].keys() == {"identity", "md5", "sha256", "copies"}
    load(write(tmp_path / "other.npz"))
    assert capsys.readouterr().out == ""


def test_a_size_that_medmnist_has_not_is_refused(load):
    with pytest.raises(DataError, match=r"--size: expected one of 28, 64, 128, 224 for chestmnist\. R"):
        load("chestmnist", size=150)


def test_without_medmnist_other_sets_say_the_line_that_installs_it(tmp_path, load, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "medmnist.info", None)
    for name in ("bloodmnist", str(tmp_path / "bloodmnist.npz")):
        with pytest.raises(DataError, match="pip install --no-deps medmnist"):
            load(name)
    assert load(write(tmp_path / "chestmnist.npz")).task == "multi-label"


def test_an_unknown_name_lists_the_known_ones(load):
    with pytest.raises(DataError, match=r"'chestmnst'.*chestmnist.*phantom"):
        load("chestmnst")


@pytest.mark.parametrize("path", ["missing.npz", "missing/chestmnist", "."])
def test_a_missing_file_and_a_folder_are_refused(path, tmp_path, load, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"expected an .npz file"):
        load(path)


def test_the_table_of_files_is_medmnists():
    INFO = pytest.importorskip("medmnist.info", reason="needs medmnist: make setup installs it").INFO
    assert set(catalogue.MEDMNIST) == {name for name in INFO if not name.endswith("3d")}
    for name, ours in medmnist_npz.CHEST_SETS.items():
        labels = list(INFO[name]["label"].values())
        assert ours.label_names == tuple(labels if ours.task == "multi-label" else labels[1:])
        assert ours.channels == INFO[name]["n_channels"]
        for size in medmnist_npz.SIZES:
            suffix = "" if size == 28 else f"_{size}"
            assert ours.md5[size] == INFO[name][f"MD5{suffix}"]
            assert medmnist_npz.URL.format(file=medmnist_npz.file_name(name, size)) == INFO[name][f"url{suffix}"]


@pytest.mark.parametrize("name", ["chestmnist.npz", "chestmnist_28.npz"])
def test_a_set_is_found_under_both_names_without_a_download(name, tmp_path, load, monkeypatch):
    monkeypatch.setattr(medmnist_npz, "download", lambda *_, **__: pytest.fail("downloaded"))
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / name)
    splits = load("chestmnist")
    assert len(splits.train) == 6
    assert "not the official release" in splits.note


def test_an_absent_set_is_downloaded_under_medmnists_name_with_its_checksum(tmp_path, load, monkeypatch):
    calls = []
    monkeypatch.setattr(
        medmnist_npz,
        "download",
        lambda url, path, md5: (calls.append((url, md5)), path.parent.mkdir(), write(path, **arrays(size=64))),
    )
    assert load("chestmnist", size=64).image_shape == (64, 64, 1)
    expected = "https://zenodo.org/records/10519652/files/chestmnist_64.npz?download=1"
    assert calls == [(expected, "9de6cd0b934ebb5b7426cfba5efbae16")]


def test_offline_the_message_names_url_path_checksum_and_the_phantom(tmp_path, load, monkeypatch):
    def fail(url, path, md5):
        raise DataError(f"Cannot download {url} to {path}: No answer")

    monkeypatch.setattr(medmnist_npz, "download", fail)
    with pytest.raises(DataError) as error:
        load("chestmnist")
    for part in (
        "https://",
        str(tmp_path / "data" / "chestmnist.npz"),
        "02c8a6516a18b556561a56cbdd36c4a8",
        "--data phantom",
    ):
        assert part in str(error.value)


def test_limit_keeps_images_with_their_labels_and_never_depends_on_the_seed(tmp_path, load):
    path = write(tmp_path / "mine.npz", **arrays(count=30))
    whole, some = load(path), load(path, limit=10)
    for part in ("train", "val", "test"):
        chosen = selection(30, 10)
        np.testing.assert_array_equal(some.parts[part].images, whole.parts[part].images[chosen])
        np.testing.assert_array_equal(some.parts[part].labels, whole.parts[part].labels[chosen])
    assert not np.array_equal(chosen, np.arange(10))
    assert set(selection(30, 10)) < set(selection(30, 20))
    assert load(path, limit=99).summary()["counts"] == {"train": 30, "val": 30, "test": 30}


def test_checksums_are_remembered_until_the_file_changes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = fingerprint.fingerprint(path, tmp_path / "memory")
    assert first["md5"] == hashlib.md5(b"one").hexdigest()
    memory = tmp_path / "memory" / "checksums.json"
    known = json.loads(memory.read_text())
    known[str(path)]["md5"] = "remembered"
    memory.write_text(json.dumps(known))
    assert fingerprint.fingerprint(path, tmp_path / "memory")["md5"] == "remembered"
    path.write_bytes(b"another")
    assert fingerprint.fingerprint(path, tmp_path / "memory")["md5"] == hashlib.md5(b"another").hexdigest()


def test_a_damaged_or_unwritable_memory_of_checksums_does_no_harm(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    (tmp_path / "checksums.json").write_text("{broken")
    assert fingerprint.fingerprint(path, tmp_path)["md5"] == hashlib.md5(b"one").hexdigest()
    assert fingerprint.fingerprint(path, path / "no-folder")["md5"] == hashlib.md5(b"one").hexdigest()


def test_data_on_which_nothing_could_be_scored_are_refused(splits):
    data.check_trainable(splits)
    flat = Split(splits.val.images, np.zeros_like(splits.val.labels))
    with pytest.raises(DataError, match=r"val.*positives and negatives"):
        data.check_trainable(type(splits)(**{**vars(splits), "val": flat}))


def test_batches_are_uint8_and_cover_each_image_once(splits):
    order = data.shuffled(24, seed=3, epoch=2)
    batches = list(data.batches(splits.train, 10, order=order))
    assert [len(images) for images, *_ in batches] == [10, 10, 4]
    assert batches[0][0].dtype == "uint8"
    indices = np.concatenate([batch[2] for batch in batches])
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches]), splits.train.images[order])
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches]), splits.train.labels[order])


def test_batches_go_on_from_any_step_with_the_same_order(splits):
    order = data.shuffled(24, seed=3, epoch=2)
    all_of_them = [batch[2].numpy().tolist() for batch in data.batches(splits.train, 10, order=order)]
    rest = [batch[2].numpy().tolist() for batch in data.batches(splits.train, 10, order=order, start=1)]
    assert rest == all_of_them[1:]


def test_the_order_changes_with_seed_and_epoch():
    orders = [tuple(data.shuffled(50, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert sorted(orders[0]) == list(range(50))


def test_what_a_killed_process_left_beside_remembered_checksums_is_removed(tmp_path):
    path, left, mine = tmp_path / "x.npz", tmp_path / ".checksums.99999.partial.json", tmp_path / ".mine.partial.json"
    for file in (path, left, mine):
        file.write_bytes(b"one")
    fingerprint.fingerprint(path, tmp_path)
    assert (left.exists(), mine.exists()) == (False, True)
