"""Where a model looks: the views of `explain.py` that explain.

Each view, here and in `error_views.py`, takes a `Study`, writes into RUN/explanations and returns the text to print.
"""

import json

import numpy as np
from tqdm import tqdm

from chestrobust import config, files, models, runs, titles
from chestrobust.attacks import named
from chestrobust.data import metadata
from chestrobust.data.splits import as_floats
from chestrobust.errors import ExpectedError
from chestrobust.evaluation import metrics, outcomes, sweep
from chestrobust.explaining import attributions, boxes
from chestrobust.reporting import cells, figures

METHODS = ("Grad-CAM", "integrated gradients")
DOUBLINGS = 4  # of the steps of integrated gradients, while a single image's aren't complete
TOLERANCE = 0.01  # of the difference of logits, or of 1 if that is larger


class Study:
    """One trained model or two, their data, the attack, and the folder that views are written to.

    Args:
        subjects: The `saved.Saved` models.
        splits: The `Splits`.
        attack: Parameters of the PGD by name; see `named.reported_pgd`.
        views: The `config.Views`.
        pixel_range: The `ranges.Range` of the pixels that files take, or None.
    """

    def __init__(self, subjects, splits, attack, views, pixel_range=None):
        self.subjects, self.splits, self.views = subjects, splits, views
        self.input_range = tuple(pixel_range.name.split()) if pixel_range else ()
        self.models = models.opened_all(subjects, splits, pixel_range)
        self.name = next(iter(self.models))
        self.model = self.models[self.name]
        self.colours = dict(zip(self.models, figures.model_colours([one.undefended for one in subjects]), strict=True))
        self.attack = named.reported_pgd(**attack)
        self.folder = subjects[0].run.path / "explanations"
        if subjects[0].run.finished and subjects[0].data.get("sha256", splits.sha256) != splits.sha256:
            self.folder /= files.portable(splits.name)  # beside what is of the run's own data

    def judged(self):
        """The first model with its thresholds and scores; what is computed is kept on disk."""
        one = self.subjects[0]
        known = one.run.read("results.json", "data", "evaluations") if one.own_run else {}
        taken = {"input_range": self.input_range, "resamples": self.views.resamples, "seed": self.attack.seed}
        own = config.EvaluateConfig(str(one.path), **taken)
        return sweep.Subject(self.model, self.splits, own, self.folder / "cache", path=one.path, known=known)

    def attacked(self, indices, model=None, attack=None):
        """Images, labels and adversarial images of some rows of the test split, floats in [0, 1]."""
        test = self.splits.test
        images = as_floats(test.images[indices])
        labels = test.labels[indices].astype(np.float32)
        attack = attack or self.attack
        return images, labels, attack(model or self.model, images, labels, task=self.splits.task, indices=indices)

    def maps(self, method, model, images, labels):
        """Maps of one method, `(count, height, width)`; of colours, the sum."""
        if method == "Grad-CAM":
            return attributions.grad_cam(model, images, labels, layer=self.views.layer)
        return attributions.integrated_gradients(model, images, labels, steps=self.views.path_steps)[0].sum(axis=-1)

    def save(self, figure, name):
        """Write a figure; returns a line that says where."""
        return f"Figure: {figures.write(figure, self.folder / name)}"

    def keep(self, name, content):
        """Write numbers as JSON."""
        content = {"schema": runs.SCHEMA, "data": self.splits.summary(), "attack": self.attack.record(), **content}
        runs.Run(self.folder).write(f"{name}.json", json.dumps(content, indent=2, allow_nan=False) + "\n")

    @property
    def heading(self):
        """Names of the data and the model, for titles."""
        return f"{titles.data_title(self.splits.summary())}; {self.name}"


def explained(labels, logits):
    """Index of the logit to explain for each image: the most probable finding that it has, else of all."""
    present = np.where(labels.any(axis=1, keepdims=True), labels, 1)
    return np.where(present == 1, logits, -np.inf).argmax(axis=1)


def explanation(study):
    """Grad-CAM and integrated gradients of one test image, clean and attacked, in one model or two."""
    splits, views = study.splits, study.views
    index = views.image
    if index is None:
        index = int(splits.test.labels.any(axis=1).argmax())
    [truth] = splits.test.labels[[index]]
    if views.label is None:
        clean = as_floats(splits.test.images[[index]])
        label = explained(truth[None], outcomes.answers(study.model, clean))
    else:
        label = np.array([splits.label_names.index(views.label)])
    finding, lines, rows, first = splits.label_names[label[0]], [], [], None
    for name, model in study.models.items():
        maps, drawn, told = _explained(study, name, model, index, label)
        rows += drawn
        lines += told
        if first is None:
            first = maps
            continue
        for (*_, panels), ours, theirs in zip(drawn, maps, first, strict=True):
            panels[f"difference: {name} minus {study.name}\n(each in its own scale)"] = "signed", None, ours - theirs
    present = ", ".join(np.array(splits.label_names)[truth == 1]) or "no finding"
    title = f"{titles.data_title(splits.summary())}, test image {index} ({present}), explained: {finding}"
    if len(study.models) == 2:
        title += "; each model is attacked for itself"
    where = study.save(figures.explanation(rows, title=title), files.portable(f"explanation-{index}-{finding}"))
    return "\n".join([title, *lines, where])


def _explained(study, name, model, index, label):
    """Of one model and test image, clean and attacked: scaled contributions, rows of the figure, lines to print."""
    image, _, adversarial = study.attacked(np.array([index]), model)
    maps, rows, lines = [], [], []
    for version, picture in (("clean", image), (study.attack.title, adversarial)):
        answer = study.splits.task.probabilities(outcomes.answers(model, picture))[0, label[0]]
        cam = attributions.grad_cam(model, picture, label, layer=study.views.layer)[0]
        contributions, line = _contributions(model, picture, label, study.views.path_steps)
        maps.append(contributions[0].sum(axis=-1))
        lines.append(f"{name}, {version}: {line}")
        panels = {f"probability {answer:.3f}": ("image", picture[0], None), "Grad-CAM": ("heat", picture[0], cam)}
        rows.append((f"{name}: {version}", study.colours[name], panels))
    # Both versions in one scale, but for a few pixels: models differ in how large their logits are.
    scale = max(1e-12, float(np.quantile(np.abs(maps), 0.995)))
    scaled = [values / scale for values in maps]
    for (*_, panels), values in zip(rows, scaled, strict=True):
        panels[f"integrated gradients\nscale {scale:.2g}"] = "signed", None, values
    return scaled, rows, lines


def _contributions(model, picture, label, steps):
    """Integrated gradients of one image, with twice the steps until they are complete, and what is printed of that."""
    for doubled in range(DOUBLINGS + 1):
        used = steps << doubled
        contributions, [[total, difference]] = attributions.integrated_gradients(model, picture, label, steps=used)
        complete = abs(total - difference) <= TOLERANCE * max(1, abs(difference))
        if complete:
            break
    verdict = "complete" if complete else "NOT complete, use more --path-steps"
    return contributions, (
        f"attributions sum to {total:.4f} with {used} steps, the logits differ by {difference:.4f}: {verdict}"
    )


def similarity(study):
    """How alike explanations of clean and attacked images are, over the whole test split."""
    splits, test = study.splits, study.splits.test
    first, *others = study.models
    values = {}

    def add(comparison, method, maps, others):
        for name, score in (("cosine", attributions.cosine), ("rank correlation", attributions.rank_correlation)):
            values.setdefault((comparison, method), {}).setdefault(name, []).append(score(maps, others))

    for indices in tqdm(pieces(test), "Explaining", unit=" batches", disable=None):
        clean = {}
        for name, model in study.models.items():
            images, labels, adversarial = study.attacked(indices, model)
            if name == first:
                about = explained(labels, outcomes.answers(model, images))
            for method in METHODS:
                clean[name, method] = study.maps(method, model, images, about)
                add(
                    f"{name}: clean and attacked",
                    method,
                    clean[name, method],
                    study.maps(method, model, adversarial, about),
                )
        for name in others:
            for method in METHODS:
                add(f"clean: {first} and {name}", method, clean[first, method], clean[name, method])
    rows, kept = [], []
    for (comparison, method), scores in values.items():
        joined = {name: np.concatenate(parts) for name, parts in scores.items()}
        entry = {name: _with_interval(study, value, test.patients) for name, value in joined.items()}
        undefined = int(np.isnan(joined["cosine"]).sum())
        rows.append([f"{comparison}, {method}", *map(_text, entry.values()), str(undefined)])
        kept.append({"comparison": comparison, "method": method, **entry, "undefined": undefined})
    study.keep("similarity", {"images": len(test), "similarity": kept})
    return "\n".join(
        [
            f"{titles.data_title(splits.summary())}: {len(test)} test images, {study.attack.title}",
            "",
            *cells.markdown(["Explanations", "Cosine (95 %)", "Rank correlation (95 %)", "Undefined"], rows),
            "",
            "Undefined: images one of whose maps is 0 everywhere; they are left out of the means.",
        ]
    )


def pieces(split):
    """Indices of a split in batches."""
    size = max(1, attributions.PIXELS_PER_BATCH // int(np.prod(split.images.shape[1:3])))
    return [np.arange(begin, min(begin + size, len(split))) for begin in range(0, len(split), size)]


def _with_interval(study, values, patients):
    """Mean and interval for JSON; None where nothing is defined."""
    mean, low, high = metrics.mean_interval(
        values, resamples=study.views.resamples, seed=study.attack.seed, patients=patients
    )
    return None if np.isnan(mean) else {"mean": mean, "low": low, "high": high}


def _text(entry):
    return "undefined" if entry is None else f"{entry['mean']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def boxed(study):
    """Share of Grad-CAM inside the radiologists' boxes and the pointing game, clean and attacked."""
    if study.splits.label_names != tuple(boxes.CHEST_LABELS):
        raise ExpectedError(
            f"--boxes: expected a model of ChestMNIST's labels. Received: {', '.join(study.splits.label_names)}."
        )
    size, channels = study.splits.image_shape[1:]
    if metadata.pixel_channels(study.splits.image_shape) < channels:
        raise ExpectedError("--boxes: expected a model of images alone. Received one with --metadata.")
    found = boxes.load(study.views.boxes, size)
    images, labels = as_floats(found.images), found.labels.astype(np.float32)
    indices = np.arange(len(images))
    patients = [name.partition("_")[0] for name in found.files]
    rows, kept = [], []
    for name, model in study.models.items():
        attacked = study.attack(model, images, labels, task=study.splits.task, indices=indices)
        for version, pictures in (("clean", images), (study.attack.title, attacked)):
            maps = attributions.grad_cam(model, pictures, found.found, layer=study.views.layer)
            scores = {
                "inside": boxes.mass_inside(maps, found.boxes),
                "pointing_game": boxes.points_inside(maps, found.boxes),
            }
            entry = {key: _with_interval(study, value, patients) for key, value in scores.items()}
            empty = int((maps.max(axis=(1, 2)) == 0).sum())
            rows.append([f"{name}, {version}", *map(_text, entry.values()), str(empty)])
            kept.append({"model": name, "images": version, **entry, "empty": empty})
    area = float(boxes.area(found.boxes, (size, size)).mean())
    study.keep("boxes", {"boxes": len(images), "images": len(set(found.files)), "area": area, "scores": kept})
    return "\n".join(
        [
            f"{len(images)} boxes in {len(set(found.files))} images, scaled to {size} px",
            "",
            *cells.markdown(["Grad-CAM", "Share inside (95 %)", "Pointing game (95 %)", "Empty"], rows),
            "",
            f"The boxes cover {area:.3f} of the image on average: what a map that knows nothing has inside. "
            "Empty: maps that are 0 everywhere, as nothing speaks for the finding; they count as 0. "
            "Images may be among those that the model was trained on.",
        ]
    )


VIEWS = {"explanation": explanation, "similarity": similarity, "boxes": boxed}
