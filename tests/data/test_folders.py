"""NIH folders, the COVID collection and class folders: tiny ones made here, and real samples where they are at hand."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import diagnosis
from chestrobust import config, data, runs
from chestrobust.data.sources import decoded, images, people, splitting
from chestrobust.data.splits import CHEST_LABELS, Rows
from chestrobust.errors import DataError
from chestrobust.runs import saved

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
TAIL = "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
HEADER_2017, HEADER_2020 = f"{HEADER},{TAIL},", f"{HEADER},{TAIL}".replace("Gender", "Sex")


def picture(path, seed=None):
    """A gray image with content of its own, told by its path unless by `seed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(str(path).encode()) if seed is None else seed
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def nih_folder(root, patients=20, header=HEADER_2020, place="images_001/images"):
    """Two images per patient; patient 3's second image is missing."""
    lines = [header]
    for patient in range(1, patients + 1):
        for visit, findings in enumerate(("No Finding", "Mass|Pleural_Thickening")):
            name = f"{patient:08}_{visit:03}.png"
            sex, view = "FM"[patient % 2], ("PA", "AP")[visit]
            lines.append(f"{name},{findings},{visit},{patient},{20 + patient},{sex},{view},100,200,0.1,0.1")
            if name != "00000003_001.png":
                picture(root / place / name)
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")
    return root


def covid_folder(root, rows):
    """`rows` are (patient, finding, view, file, seed of the content)."""
    lines = ["patientid,sex,age,finding,view,modality,folder,filename"]
    for patient, finding, view, name, seed in rows:
        lines.append(f"{patient},F,,{finding},{view},X-ray,images,{name}")
        picture(root / "images" / name, seed)
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def class_folders(root, parts=("train", "test"), count=18):
    for part in parts:
        for number, name in enumerate(("healthy", "ill")):
            for image in range(count):
                picture(root / part / name / f"{image}.png", [number, image, len(part)])
    return root


@pytest.fixture
def load(tmp_path):
    """Loads `load("nih", root)` with unwritable folders' images kept in a temporary one."""
    return lambda source, root, **settings: data.load(source, root=str(root), data_dir=tmp_path / "data", **settings)


def patients(splits):
    return [set(split.patients.tolist()) for split in splits.parts.values()]


@pytest.mark.parametrize("header", [HEADER_2017, HEADER_2020])
@pytest.mark.parametrize("place", ["images_001/images", "images", "."])
def test_an_nih_folder_becomes_chestmnist(tmp_path, load, capsys, header, place):
    splits = load("nih", nih_folder(tmp_path / "nih", header=header, place=place))
    assert (splits.task, splits.label_names, splits.image_shape) == ("multi-label", CHEST_LABELS, (28, 28, 1))
    assert [len(split) for split in splits.parts.values()] == [31, 4, 4]
    assert (
        "1 of the 40 images in Data_Entry_2017.csv are missing. The first: 00000003_001.png" in capsys.readouterr().out
    )
    for split in splits.parts.values():
        ill = split.attributes["view"] == "AP"
        expected = np.isin(CHEST_LABELS, ("mass", "pleural"))
        np.testing.assert_array_equal(split.labels, np.where(ill[:, None], expected, 0))
        np.testing.assert_array_equal(split.attributes["age"], 20 + split.patients)
        np.testing.assert_array_equal(split.attributes["sex"], np.where(split.patients % 2, "M", "F"))


def test_rows_and_pixels_belong_together_whatever_the_limit(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    for settings in ({}, {"limit": 3}, {"train_subset": 5, "val_subset": 2}):
        splits = load("nih", root, **settings)
        for split in splits.parts.values():
            for row in range(len(split)):
                visit = int(split.attributes["view"][row] == "AP")
                file = root / "images_001" / "images" / f"{split.patients[row]:08}_{visit:03}.png"
                np.testing.assert_array_equal(split.images[row], images.read(file, size=28))
    assert splits.summary()["counts"] == {"train": 5, "val": 2, "test": 4}


def test_only_the_images_of_a_subset_are_decoded(tmp_path, load, monkeypatch):
    read, seen = images.read, []
    monkeypatch.setattr(images, "read", lambda path, **settings: (seen.append(path), read(path, **settings))[1])
    load("nih", nih_folder(tmp_path / "nih"), limit=3, train_subset=2)
    assert len(seen) == 2 + 3 + 3


def test_no_patient_is_in_two_splits(tmp_path, load):
    train, val, test = patients(load("nih", nih_folder(tmp_path / "nih", patients=40)))
    assert train | val | test == set(range(1, 41))
    assert not (train & val or train & test or val & test)


def test_official_lists_decide_the_test_split_and_validation_comes_from_the_rest(tmp_path, load, capsys):
    root = nih_folder(tmp_path / "nih")
    names = [f"{patient:08}_{visit:03}.png" for patient in range(1, 21) for visit in (0, 1)]
    (root / "test_list.txt").write_text("\n".join(names[-8:]))
    # The first patient is in no list.
    (root / "train_val_list.txt").write_text("\n".join(names[2:-8]))
    splits = load("nih", root)
    train, val, test = patients(splits)
    assert test == {17, 18, 19, 20}
    assert train | val == set(range(2, 17))
    assert not train & val
    assert 3 <= len(splits.val) <= 5  # an eighth of 29
    assert splits.note == "official test list"
    assert "2 of 39 images are in none of" in capsys.readouterr().out


def test_three_lists_are_followed_to_the_letter_and_leaks_are_noted(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    parts = {"train": ["00000001_000.png 0 0", "00000002_000.png 0 1"], "val": ["00000004_001.png"]}
    parts["test"] = ["00000001_001.png", "00000005_000.png"]
    for part, names in parts.items():
        (root / f"{part}_list.txt").write_text("\n".join(names) + "\n")
    splits = load("nih", root)
    assert [split.patients.tolist() for split in splits.parts.values()] == [[1, 2], [4], [1, 5]]
    assert "1 patients in several splits" in splits.note
    (root / "val_list.txt").write_text("00000005_000.png")
    with pytest.raises(DataError, match=r"00000005_000\.png in two"):
        load("nih", root)
    (root / "val_list.txt").unlink()
    with pytest.raises(DataError, match=r"expected val_list\.txt"):
        load("nih", root)


def test_a_table_without_patients_and_views_is_enough(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    table = root / "Data_Entry_2017.csv"
    table.write_text("\n".join(",".join(line.split(",")[:2]) for line in table.read_text().splitlines()))
    splits = load("nih", root)
    assert set().union(*patients(splits)) == set(range(1, 21))
    assert np.isnan(splits.train.attributes["age"]).all()
    assert set(splits.train.attributes["view"]) == {""}


@pytest.mark.parametrize(
    ("text", "age"),
    [
        *(("58", 58), ("58.0", 58), ("058Y", 58), ("006M", 0.5), ("13d", 13 / 365.25)),
        *((text, np.nan) for text in ("411Y", "", "x", "-1", "nan", "inf", "1" * 5000, "9" * 400)),
    ],
)
def test_ages_are_years(text, age):
    np.testing.assert_allclose(people.age(text), age, atol=0.01)


def test_ages_and_sexes_are_known_as_other_programs_write_them(tmp_path, load, capsys):
    root = nih_folder(tmp_path / "nih")
    table = root / "Data_Entry_2017.csv"
    text = table.read_text().replace(",F,", ",Female,").replace(",M,", ",male,")
    table.write_text(text.replace(",21,male", ",21.0,male").replace(",22,", ",old,"))
    splits = load("nih", root)
    for split in splits.parts.values():
        np.testing.assert_array_equal(split.attributes["sex"], np.where(split.patients % 2, "M", "F"))
        known = split.patients != 2
        np.testing.assert_array_equal(split.attributes["age"][known], 20 + split.patients[known])
    assert "nih: 2 of 39 ages are none of 0 to 120 years. The first: old. Unknown." in capsys.readouterr().out


def test_a_folder_is_known_once_its_images_were_decoded(tmp_path, load):
    root = class_folders(tmp_path / "scans")
    assert not data.is_known_root(str(root), tmp_path / "data")
    load("folders", root)
    assert data.is_known_root(str(root), tmp_path / "data")
    assert not data.is_known_root(str(root), tmp_path / "other")  # shipped with the folder, for all that is known there
    assert data.is_known_root(str(tmp_path / "nowhere"), tmp_path / "data")  # where nothing can be made


def test_a_lone_test_list_is_followed(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    (root / "test_list.txt").write_text("\n".join(f"{patient:08}_000.png" for patient in (1, 2, 3)))
    splits = load("nih", root)
    assert splits.test.patients.tolist() == [1, 2, 3]
    assert splits.note == "test list of its folder, 2 patients in several splits"
    assert len(splits.train) + len(splits.val) == 36
    (root / "val_list.txt").write_text("00000004_000.png")
    with pytest.raises(DataError, match=r"expected train_list\.txt beside val_list\.txt, test_list\.txt"):
        load("nih", root)


@pytest.mark.parametrize(
    ("line", "encoding"),
    [("{}", "utf-8-sig"), ("images_001/images/{}", "utf-8"), ("C:\\my disk\\{} 0 1", "utf-8"), ("./{},1\r", "utf-8")],
)
def test_lists_of_other_programs_lose_no_image(tmp_path, load, line, encoding):
    root = nih_folder(tmp_path / "nih")
    names = [f"{patient:08}_{visit:03}.png" for patient in range(1, 21) for visit in (0, 1)]
    for part, chosen in (("train_val", names[:30]), ("test", names[30:])):
        (root / f"{part}_list.txt").write_bytes("\n".join(map(line.format, chosen)).encode(encoding))
    splits = load("nih", root)
    assert set(splits.test.patients) == {16, 17, 18, 19, 20}
    assert sum(map(len, splits.parts.values())) == 39


def test_lists_that_name_no_images_are_refused(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    (root / "test_list.txt").write_bytes("00000001_000.png\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"test_list\.txt: expected the name of a PNG image in each line"):
        load("nih", root)


def test_a_patient_of_thousands_of_digits_is_refused(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    table = root / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace(",1,21,", f",{'1' * 5000},21,"))
    with pytest.raises(DataError, match=r"expected a number in Patient ID\. Received: '111") as error:
        load("nih", root)
    assert len(str(error.value)) < 400


def test_wrong_nih_folders_are_refused(tmp_path, load):
    with pytest.raises(DataError, match="no --root"):
        data.load("nih")
    with pytest.raises(DataError, match="nothing there"):
        load("nih", tmp_path / "none")
    root = nih_folder(tmp_path / "nih")
    table = root / "Data_Entry_2017.csv"
    text = table.read_text()
    table.write_text(text.replace("No Finding", "Headache", 1))
    with pytest.raises(DataError, match=r"row 2.*'Headache'"):
        load("nih", root)
    table.write_text(text + text.splitlines()[1])
    with pytest.raises(DataError, match="each image once"):
        load("nih", root)
    table.rename(root / "other.csv")
    with pytest.raises(DataError, match=r"Data_Entry_2017\.csv"):
        load("nih", root)


def test_the_second_start_decodes_nothing_until_size_list_or_files_change(tmp_path, load, monkeypatch):
    root = nih_folder(tmp_path / "nih")
    read, seen = images.read, []
    monkeypatch.setattr(images, "read", lambda path, **settings: (seen.append(path), read(path, **settings))[1])

    def decodes(**settings):
        seen.clear()
        splits = load("nih", root, **settings)
        return len(seen), splits

    assert decodes()[0] == 39
    first = decodes()
    assert first[0] == 0
    assert isinstance(first[1].train.images.array, np.memmap)
    assert decodes(size=64)[0] == 39
    assert decodes(limit=3)[0] == 9
    assert decodes()[0] == 0  # Lists don't push each other out.
    assert decodes()[1].sha256 == first[1].sha256
    changed = picture(root / "images_001" / "images" / "00000007_000.png", seed=5)
    os.utime(changed, ns=(1, 1))
    again = decodes()
    assert again[0] == 39
    assert again[1].sha256 != first[1].sha256
    table = root / "Data_Entry_2017.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    assert decodes()[0] == 38
    assert len(list((root / ".decoded").glob("28-*.npy"))) == 1  # What is out of date is gone.


def cached(root, ending):
    (path,) = (root / ".decoded").glob(f"28-*.{ending}")
    return path


@pytest.mark.parametrize("ending", ["npy", "json"])
def test_decoded_images_that_were_changed_are_decoded_again(tmp_path, load, ending):
    root = class_folders(tmp_path / "mri")
    before = np.array(load("folders", root).train.images)
    path = cached(root, ending)
    content, about = path.read_bytes(), path.stat()
    path.write_bytes(content[:128] + bytes(len(content) - 128) if ending == "npy" else content.replace(b'"', b"'"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    after = load("folders", root)
    np.testing.assert_array_equal(before, after.train.images[:])
    assert path.read_bytes() == content


def test_decoded_images_that_came_with_a_folder_are_not_believed(tmp_path, load, monkeypatch):
    root = class_folders(tmp_path / "mri")
    before = load("folders", root)
    there = tmp_path / "there" / "mri"
    shutil.copytree(root, there)  # with times, so that the list of files is the same
    altered = np.load(cached(there, "npy"))
    np.save(cached(there, "npy"), 255 - altered)
    after = load("folders", there)
    assert after.sha256 == before.sha256
    np.testing.assert_array_equal(before.train.images[:], after.train.images[:])
    # What was made here and only touched is read for its checksum, not decoded.
    monkeypatch.setattr(images, "read", lambda *_, **__: pytest.fail("decoded again"))
    os.utime(cached(there, "npy"))
    load("folders", there)


@pytest.mark.parametrize("planted", [".decoded", ".decoded/lock"])
def test_links_that_came_with_a_folder_lead_nowhere(tmp_path, load, planted):
    root = class_folders(tmp_path / "mri")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".28-precious").write_text("mine")
    (root / planted).parent.mkdir(exist_ok=True)
    (root / planted).symlink_to(home / ".28-precious" if planted.endswith("lock") else home)
    assert len(load("folders", root).train)
    assert [path.name for path in home.iterdir()] == [".28-precious"]
    assert (home / ".28-precious").read_text() == "mine"


def test_names_of_class_folders_are_printable(tmp_path, load):
    root = class_folders(tmp_path / "mri")
    evil = "ill\x1b]0;title\x07\nAudit: 16 passed"
    for part in ("train", "test"):
        (root / part / "ill").rename(root / part / evil)
    assert load("folders", root).label_names[-1] == r"ill\x1b]0;title\x07\nAudit: 16 passed"


def test_a_decoding_that_was_broken_off_leaves_nothing_behind(tmp_path, load, monkeypatch):
    root = nih_folder(tmp_path / "nih")
    read = images.read

    def stop(path, **settings):
        if path.name == "00000009_000.png":
            raise KeyboardInterrupt
        return read(path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(images, "read", stop)
        with pytest.raises(KeyboardInterrupt):
            load("nih", root)
    assert [path.name for path in (root / ".decoded").iterdir()] == ["lock"]
    assert len(load("nih", root).train) == 31


def test_images_are_kept_elsewhere_where_the_folder_cannot_be_written(tmp_path, load):
    root = nih_folder(tmp_path / "nih")
    root.chmod(0o555)
    load("nih", root)
    root.chmod(0o755)
    assert not (root / ".decoded").exists()
    assert list((tmp_path / "data" / "decoded").rglob("28-*.npy"))
    # A file where the folder should be: neither place can be written.
    (root / ".decoded").write_text("")
    with pytest.raises(DataError, match=r"Received .*Choose another --data-dir"):
        data.load("nih", root=str(root), data_dir=root / ".decoded")


def test_a_damaged_image_is_named_and_left_out_and_many_are_refused(tmp_path, load, capsys):
    root = nih_folder(tmp_path / "nih")
    files = sorted((root / "images_001" / "images").iterdir())
    files[4].write_bytes(files[4].read_bytes()[:60])
    splits = load("nih", root)
    assert sum(len(split) for split in splits.parts.values()) == 38
    said = capsys.readouterr().out
    assert "1 of 39 image files can't be read. The first: " in said
    assert files[4].name in said
    load("nih", root)
    assert files[4].name in capsys.readouterr().out  # said again, though nothing was decoded
    for file in files[:8]:
        file.write_bytes(b"not an image")
    with pytest.raises(DataError, match="8 of 39"):
        load("nih", root)


def test_12_bits_in_16_keep_their_gray_levels_alike_in_the_whole_folder(tmp_path, load, capsys):
    root = class_folders(tmp_path / "classes")
    rng = np.random.default_rng(0)
    for number, path in enumerate(sorted(root.glob("test/*/*.png"))):
        pixels = rng.integers(0, 4096 if number else 2000, (20, 16), dtype=np.uint16)
        Image.fromarray(pixels).save(path)
    for _ in range(2):
        splits = load("folders", root)
        assert "images of 16 bits hold values up to 409" in capsys.readouterr().out
        assert splits.test.images[0].max() < 150  # below 2000 of 4095, not stretched by itself
        assert splits.test.images[:].max() > 240
        np.testing.assert_array_equal(splits.test.images[3], images.read(root / "test/healthy/11.png", 28, bits=12))


def test_covid_takes_pa_views_and_puts_patients_who_share_an_image_together(tmp_path, load):
    rows = [(patient, "COVID-19" if patient % 3 else "SARS", "PA", f"{patient}.png", patient) for patient in range(60)]
    rows += [(patient, "COVID-19", "AP", f"ap{patient}.png", 500 + patient) for patient in range(5)]
    # Patients 100 and 101 share a file, 101 and 102 the content of another under two names.
    rows += [(100, "COVID-19", "PA", "twice.png", 900), (101, "COVID-19", "PA", "twice.png", 900)]
    rows += [(101, "COVID-19", "PA", "copy1.png", 901), (102, "COVID-19", "PA", "copy2.png", 901)]
    splits = load("covid", covid_folder(tmp_path / "covid", rows))
    assert (splits.task, splits.label_names) == ("binary", ("covid-19",))
    assert [len(split) for split in splits.parts.values()] == [51, 7, 6]
    assert sum(int(split.labels.sum()) for split in splits.parts.values()) == 44
    train, val, test = patients(splits)
    assert not (train & val or train & test or val & test)
    assert len(train | val | test) == 61
    contents = [{image.tobytes() for image in split.images[:]} for split in splits.parts.values()]
    assert not (contents[0] & contents[1] or contents[0] & contents[2] or contents[1] & contents[2])


def test_what_has_no_diagnosis_yet_is_left_out_of_covid(tmp_path, load, capsys):
    findings = ["Pneumonia/Viral/COVID-19"] * 20 + ["No Finding"] * 12 + ["todo", "Unknown", "", "TODO"]
    rows = [(number, finding, "PA", f"{number}.png", number) for number, finding in enumerate(findings)]
    splits = load("covid", covid_folder(tmp_path / "covid", rows))
    assert set().union(*patients(splits)) == set(range(32))
    assert sum(int(split.labels.sum()) for split in splits.parts.values()) == 20
    assert "4 of the 36 PA X-rays in metadata.csv have no finding yet" in capsys.readouterr().out


def test_a_covid_table_cannot_name_files_outside_its_folder(tmp_path, load):
    root = covid_folder(tmp_path / "covid", [(1, "SARS", "PA", "a.png", 1)])
    (root / "metadata.csv").write_text("patientid,finding,view,filename\n1,SARS,PA,../../secret.png\n")
    with pytest.raises(DataError, match="inside the folder"):
        load("covid", root)


def test_class_folders_keep_their_test_split_and_take_validation_by_class(tmp_path, load):
    splits = load("folders", class_folders(tmp_path / "mri"))
    assert (splits.name, splits.task, splits.label_names) == ("mri", "multi-class", ("healthy", "ill"))
    assert {part: split.labels.sum(axis=0).tolist() for part, split in splits.parts.items()} == {
        "train": [16, 16],
        "val": [2, 2],
        "test": [18, 18],
    }
    whole = load("folders", class_folders(tmp_path / "whole", ("train", "valid", "test")))
    assert whole.summary()["counts"] == {"train": 36, "val": 36, "test": 36}


def test_class_folders_without_a_split_are_dealt_out_by_class_with_copies_together(tmp_path, load):
    root = class_folders(tmp_path / "mri", (".",), count=20)
    for number in range(6):
        picture(root / "ill" / f"copy{number}.png", seed=7)
    splits = load("folders", root)
    assert {part: split.labels[:, 0].sum() for part, split in splits.parts.items()} == {
        "train": 16,
        "val": 2,
        "test": 2,
    }
    copy = images.read(root / "ill" / "copy0.png", size=28)
    found = [int((split.images[:] == copy).all(axis=(1, 2, 3)).sum()) for split in splits.parts.values()]
    assert sorted(found) == [0, 0, 6]


def test_test_images_that_are_also_training_images_are_said_and_noted(tmp_path, load, capsys):
    root = class_folders(tmp_path / "mri")
    (root / "test" / "ill" / "0.png").write_bytes((root / "train" / "ill" / "0.png").read_bytes())
    assert "1 test images also in train" in load("folders", root).note
    assert "byte for byte" in capsys.readouterr().out


def test_what_is_no_image_of_a_class_is_left_out_and_named(tmp_path, load, capsys):
    root = class_folders(tmp_path / "mri")
    (root / "train" / "ill" / "Thumbs.db").write_text("")
    (root / "train" / "ill" / "._0.png").write_text("")
    (root / "train" / "ill" / "gone.png").symlink_to(tmp_path / "gone.png")
    picture(root / "__MACOSX" / "train" / "0.png")
    picture(root / "train" / "__MACOSX" / "0.png")
    picture(root / "test" / "ill" / "0.bmp")
    picture(root / "more" / "ill" / "0.png")
    picture(root / "train" / "0.png")
    (root / "test" / "ill" / "there").symlink_to(root / "more")
    assert load("folders", root).summary()["counts"] == {"train": 32, "val": 4, "test": 36}
    out = capsys.readouterr().out
    assert "1 folders beside train and test are left out. The first: more." in out
    assert "1 images outside of classes are left out. The first: train/0.png." in out
    assert "3 files that are no PNG or JPEG images are left out. The first: train/ill/Thumbs.db." in out
    assert "1 links to folders are left out. The first: test/ill/there." in out


def test_masks_beside_images_are_no_xrays(tmp_path, load, capsys):
    root = tmp_path / "radiography"
    for name in ("with_mask", "without_mask"):  # Classes may be called so.
        for number in range(10):
            picture(root / name / "images" / f"{number}.png")
            picture(root / name / "Lung Masks" / f"{number}.png")
            picture(root / name / "images" / f"{number}_mask.png")
            picture(root / name / "images" / f"face_mask_{number}.png")
    assert sum(load("folders", root).summary()["counts"].values()) == 40
    out = capsys.readouterr().out
    assert "40 masks beside images are left out. The first: with_mask/Lung Masks/0.png." in out
    assert "taken as of this class: of with_mask/images and of 1 more." in out


def test_splits_within_classes_are_not_merged(tmp_path, load):
    for name in ("healthy", "ill"):
        for part in ("train", "test"):
            picture(tmp_path / "x" / name / part / "0.png")
    with pytest.raises(DataError, match=r"Received healthy/train: splits within classes. Move them to train/healthy"):
        load("folders", tmp_path / "x")


@pytest.mark.parametrize("others", [(), ("other",), ("readme",), ("pictures",)])
@pytest.mark.parametrize("parts", [(".",), ("train", "test")])
def test_a_root_one_level_too_high_is_refused_and_the_likely_one_named(tmp_path, load, others, parts):
    class_folders(tmp_path / "high" / "chest_xray", parts, count=2)
    for other in others:
        if other == "other":
            class_folders(tmp_path / "high" / other, parts, count=2)
        elif other == "pictures":
            picture(tmp_path / "high" / other / "0.png")
        else:
            (tmp_path / "high" / other).mkdir()
    with pytest.raises(DataError, match=r"expected .*Is it .*high/chest_xray\?"):
        load("folders", tmp_path / "high")


def test_a_folder_per_patient_may_lie_below_a_class(tmp_path, load, capsys):
    for number in range(20):
        for visit in range(2):
            picture(tmp_path / "ct" / ("healthy", "ill")[number % 2] / f"patient{number}" / f"{visit}.png")
    assert sum(load("folders", tmp_path / "ct").summary()["counts"].values()) == 40
    assert "healthy/patient0 and of 19 more" in capsys.readouterr().out


def test_links_to_nothing_count_as_missing(tmp_path, load, capsys):
    root = nih_folder(tmp_path / "nih")
    (root / "images_001" / "images" / "00000003_001.png").symlink_to(tmp_path / "gone.png")
    load("nih", root)
    assert "1 of the 40 images" in capsys.readouterr().out


def test_wrong_class_folders_are_refused(tmp_path, load):
    with pytest.raises(DataError, match=r"expected train and test.*only train"):
        load("folders", class_folders(tmp_path / "half", ("train",)))
    picture(tmp_path / "one" / "ill" / "0.png")
    with pytest.raises(DataError, match=r"at least two classes.*ill"):
        load("folders", tmp_path / "one")
    root = class_folders(tmp_path / "other")
    picture(root / "test" / "unheard of" / "0.png")
    with pytest.raises(DataError, match=r"classes of train, healthy, ill.*unheard of"):
        load("folders", root)


def loaded(options):
    return data.load(**config.picked(options, config.DATA))


@pytest.mark.parametrize("source", config.FOLDERS)
def test_options_bring_the_root_and_the_subsets(tmp_path, source):
    rows = [(number, ("SARS", "COVID-19")[number % 2], "PA", f"{number}.png", number) for number in range(40)]
    makers = {"nih": nih_folder, "covid": lambda root: covid_folder(root, rows), "folders": class_folders}
    makers[source](tmp_path / source)
    arguments = ["--data", source, f"--{source}-root", str(tmp_path / source), "--train-subset", "7", "--limit", "9"]
    splits = loaded(config.parse(config.BaselineConfig, [*arguments, "--val-subset", "2"]))
    assert (len(splits.train), len(splits.val)) == (7, 2)
    assert isinstance(splits.train.images, Rows)
    with pytest.raises(DataError, match="no --root"):
        loaded(config.EvaluateConfig(subject="run", data=source))


def test_explaining_takes_the_folder_of_the_run_unless_it_has_moved(tmp_path):
    root = nih_folder(tmp_path / "nih")
    options = config.BaselineConfig(
        data="nih", root=str(root), data_dir=str(tmp_path / "data"), val_subset=2, run=str(tmp_path / "run")
    )
    run = runs.Run(tmp_path / "run")
    run.start(options)
    for name in ("results.json", "model.keras"):
        run.write(name, "{}")
    data.load("nih", root=root, data_dir=tmp_path / "data")
    subject = saved.find(str(run.path))
    splits = loaded(saved.settings(subject, vars(config.ExplainConfig(subject="run", other=None))))
    assert splits.summary()["counts"] == {"train": 31, "val": 2, "test": 4}
    root.rename(tmp_path / "moved")
    moved = config.ExplainConfig(subject="run", other=None, root=str(tmp_path / "moved"))
    assert loaded(saved.settings(subject, vars(moved))).summary() == splits.summary()


def test_dealing_by_group_keeps_shares_and_leaves_no_class_out():
    groups = np.repeat(np.arange(300), 3)
    part = splitting.by_group(groups)
    np.testing.assert_allclose(np.bincount(part) / 900, splitting.SHARES, atol=0.005)
    assert all(len(set(part[groups == group])) == 1 for group in range(300))
    np.testing.assert_array_equal(part, splitting.by_group(groups))
    rare = splitting.by_group(np.arange(103), strata=[0] * 100 + [1] * 3)
    assert sorted(rare[-3:]) == [0, 1, 2]


def test_a_chain_of_shared_keys_is_one_group():
    groups = splitting.connected(["a", "b", "c", "d"], ["1", "2", "2", None], ["x", "x", "y", None])
    assert len(set(groups[:3])) == 1
    assert groups[3] not in groups[:3]


def test_the_real_nih_folder(samples, load, capsys):
    splits = load("nih", samples / "nih_folder")
    assert "5 of the 405 images" in capsys.readouterr().out
    assert sum(len(split) for split in splits.parts.values()) == 400
    positives = sum(split.labels.sum(axis=0, dtype=int) for split in splits.parts.values())
    # As ../shared/data/README.md counts them.
    assert dict(zip(CHEST_LABELS, positives.tolist(), strict=True)) == {
        **{"atelectasis": 60, "cardiomegaly": 17, "effusion": 60, "infiltration": 81, "mass": 19, "nodule": 20},
        **{"pneumonia": 198, "pneumothorax": 12, "consolidation": 33, "edema": 60, "emphysema": 10, "fibrosis": 8},
        **{"pleural": 28, "hernia": 3},
    }
    train, val, test = patients(splits)
    assert len(train | val | test) == 314
    assert not (train & val or train & test or val & test)


def test_the_real_covid_folder(samples, load):
    splits = load("covid", samples / "covid_chestxray")
    labels = np.concatenate([split.labels for split in splits.parts.values()])
    assert (len(labels), labels.sum()) == (288, 208)
    assert all(0 < split.labels.mean() < 1 for split in splits.parts.values())


def test_the_real_class_folders(samples, load):
    splits = load("folders", samples / "alzheimer_mri")
    assert splits.summary()["counts"] == {"train": 847, "val": 105, "test": 462}
    assert splits.test.labels.sum(axis=0).tolist() == [150, 12, 150, 150]


def test_a_version_of_what_is_kept_is_part_of_its_name(tmp_path, load, monkeypatch):
    root = nih_folder(tmp_path / "nih")
    load("nih", root)
    before = set((root / ".decoded").glob("*.npy"))
    monkeypatch.setattr(decoded, "VERSION", decoded.VERSION + 1)
    load("nih", root)
    assert set((root / ".decoded").glob("*.npy")) > before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "folder", "task"),
    [
        ("nih", "nih_folder", "multi-label"),
        ("covid", "covid_chestxray", "binary"),
        ("folders", "alzheimer_mri", "multi-class"),
    ],
)
def test_a_model_is_trained_on_each_real_folder_and_attacked(samples, tmp_path, source, folder, task):
    diagnosis.main(
        [
            *("--data", source, "--root", str(samples / folder), "--data-dir", str(tmp_path / "data")),
            *("--run", str(tmp_path / "run"), "--epochs", "1", "--steps", "2", "--augment", "vgg", "--no-flip"),
        ]
    )
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["data"]["task"] == task
    aimed = ["pgd-auc"] if task == "multi-label" else []
    assert [entry["attack"] for entry in found["evaluations"]] == ["clean", "fgsm", "pgd", *aimed]
    assert found["config"]["root"] == folder.rpartition("/")[2]
    assert (tmp_path / "run" / "chestxray.png").stat().st_size > 10_000


def test_a_folder_with_a_table_is_not_taken_for_classes(tmp_path, load):
    with pytest.raises(DataError, match=r"a folder for each class. Received a table too. Use --data nih"):
        load("folders", nih_folder(tmp_path / "nih"))
