"""One model, one data set, many attacks and radii: what `evaluate.py` computes, kept on disk attack by attack."""

import dataclasses
import hashlib
import itertools
import json

import numpy as np
from tqdm import tqdm

from chestrobust import catalogue, devices, files, models, runs
from chestrobust.attacks import named
from chestrobust.data import ranges
from chestrobust.errors import ModelError, RunError
from chestrobust.evaluation import (
    audit,
    cache,
    certification,
    clinical,
    combined,
    gallery,
    metrics,
    outcomes,
    saving,
    scoring,
    smoothing,
)
from chestrobust.models import bounds, twin
from chestrobust.reporting import figures, graphs, verdict
from chestrobust.runs import provenance, saved

CURVE_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def sweep(one, splits, options, *, source=None, groups=None, labels=None, pairing=None):
    """Attack the test split at every radius, audit the result, and write it to the run's `evaluations` folder.

    Args:
        one: The `saved.Saved` model; of a run, its thresholds, its radius and its baseline's scores are taken.
        splits: The `Splits`.
        options: An `EvaluateConfig` whose data are known.
        source: Path of another model, on which transferred images are made.
        groups: Groups of test images to score besides; see `subgroups.rows`.
        labels: Names of the model's labels and of the data's, by `"model"` and `"data"`, or None if the model's are
            unknown; those of `splits` are the ones they share.
        pairing: A `comparison.Pairing` that gets the rows, or None.

    Returns:
        What was written: see `tables.evaluation`.
    """
    if options.save_images:
        saving.check(splits)
    if options.suite == "clinical":
        clinical.check(splits)
    pixel_range, path, run = ranges.chosen(options.input_range), one.path, one.run
    found = models.opened(path, splits, pixel_range)
    if options.certify:
        bounds.of(found.model)  # Before anything is attacked: a model that can't be certified should be known now.
    if note := twin.note(found.model):
        print(note)
    other = models.opened(source, splits, pixel_range).model if source else None
    folder, name = run.path / "evaluations", name_of(one, splits, options)
    if devices.chief():
        runs.clear(folder / name)
    known = run.read("results.json", "data", "evaluations") if one.own_run else {}
    of_run = {"path": path, "known": known, "other": other, "source": source, "groups": groups, "pairing": pairing}
    subject = Subject(found.model, splits, options, folder / name, **of_run)
    results = {"schema": runs.SCHEMA, "model": provenance.model(path), **study(found, subject), "labels": labels}
    if devices.chief():
        write(results, folder, name)
        if options.save_images:
            saving.save_worst(subject, results, folder / f"{name}-images")
    if not (run.path / gallery.NAME).is_file():
        # A model of somebody else's, or a run of an earlier version.
        shown = {path.stem: found.model}
        cuts = dict.fromkeys(shown, subject.thresholds)
        gallery.write(shown, splits, cuts, folder / name, precision=options.precision)
    devices.wait()
    return results


def name_of(one, splits, options):
    """What the results about a `saved.Saved` model are called, in the folder of its run's evaluations."""
    stem = "" if one.path.name == "model.keras" else f"{one.path.stem}-"
    return options.name or files.portable(f"{stem}{splits.name}-{options.suite}")


def study(found, subject):
    """What results say of a model under attack, without where it lies.

    Args:
        found: The `models.Opened`.
        subject: The `Subject` of its model.
    """
    splits, options = subject.splits, subject.options
    evaluations = subject.evaluations()
    reference = subject.radius()
    curve = subject.curve_over_steps(reference)
    lines = subject.audit(reference, evaluations, audit.facts(found))
    noise = {"sigma": options.smooth, "draws": options.draws, "seed": options.seed}
    return {
        "architecture": found.model.name.removesuffix("_logits"),
        "parameters": found.model.count_params(),
        **found.record(),
        "data": splits.summary(),
        "config": provenance.options(vars(options)),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "thresholds": splits.by_label(subject.thresholds),
        "evaluations": [row | {"code": cache.code()} for row in evaluations],
        **({"smoothed": smoothing.record(subject, **noise)} if options.smooth else {}),
        "own_epsilon": subject.own_epsilon,
        "steps_curve": curve,
        "audit": [dataclasses.asdict(line) for line in lines],
    }


def write(results, folder, name):
    """Write results and their curves as `NAME.json`, `NAME.png` and `NAME.svg` into a folder."""
    figures.write(graphs.curves(results), folder / name)
    runs.Run(folder).write(f"{name}.json", json.dumps(results, indent=2, allow_nan=False) + "\n")


class Subject(scoring.Scores):
    """A model under evaluation, with what its rows share.

    Args:
        model: Callable `model(images, training=False)` that returns logits.
        splits: The `Splits`.
        options: An `EvaluateConfig`.
        kept: Folder of the outcomes; see `cache.Cache`.
        path: The model's file, if it has one.
        known: `results.json` of its run, if there is one.
        other, source: Another model, on which transferred images are made, and its file.
        groups: Groups of test images to score besides; see `subgroups.rows`.
        thresholds: `(num_labels,)`, of probabilities; the run's or the best by default.
        pairing: A `comparison.Pairing` that gets the rows, or None.
    """

    def __init__(
        self,
        model,
        splits,
        options,
        kept,
        *,
        path=None,
        known=None,
        other=None,
        source=None,
        groups=None,
        thresholds=None,
        pairing=None,
    ):
        self.model, self.splits, self.options, self.other = model, splits, options, other
        self.cache = cache.Cache(kept)
        self.known, self.outcomes = known or {}, {}
        self.own_epsilon = saved.own_radius(self.known)
        # Others, from memory, lie between grey levels.
        self.stored = options.stored and splits.test.images.dtype == np.uint8
        self.undefended, baseline = self._undefended(path)
        if source is None and baseline:
            # A defence that only hides its gradient falls to images made on another model; this one is at hand.
            self.other, source = self.undefended, baseline
        # Of a model in memory, nothing outlives it.
        self.identity = cache.identity(path, model, options.input_range) if path else None
        self.source_identity = cache.identity(source, self.other, options.input_range) if source else None
        clean = self.outcome(named.CLEAN).logits
        thresholds = self._thresholds() if thresholds is None else thresholds
        resampling = {"resamples": options.resamples, "seed": options.seed}
        super().__init__(splits, clean, thresholds, groups or {}, **resampling, pairing=pairing)

    def radius(self):
        """The radius of the verdict, the audit and the curve over steps: the run's own if it is among those attacked.

        Else the one in the middle; of several models, that of the first.
        """
        epsilons = self.options.epsilons
        found = self.own_epsilon if self.own_epsilon in epsilons else verdict.middle(epsilons) or 4 / 255
        if self.pairing is None:
            return found
        self.pairing.radius = self.pairing.radius or found
        return self.pairing.radius

    def outcome(self, attack):
        """The `Outcome` of an attack on the test split, from disk if it was computed before."""
        source, made_on = (self.other, self.source_identity) if attack.row.source else (None, None)
        labels = hashlib.sha256(np.ascontiguousarray(self.splits.test.labels).tobytes()).hexdigest()
        seen = [self.splits.sha256, self.splits.image_shape, self.splits.label_names, labels]
        if universal := attack.row.wanted is not None:
            made_on = hashlib.sha256(np.ascontiguousarray(self.splits.train.labels).tobytes()).hexdigest()
        made_by = [attack.record(), self.identity, seen, made_on, *(["stored"] if self.stored else [])]
        outcome = devices.from_chief(lambda: self.cache.find(made_by, self.splits.test.labels.shape))
        if outcome is None:
            ready = attack.fitted(self.model, self.splits.train.images) if universal else attack
            outcome = outcomes.run(
                *(self.model, self.splits.task, self.splits.test, ready),
                source=source,
                progress=True,
                known=None if source else self.outcomes,
                stored=self.stored,
            )
            if not np.isfinite(outcome.logits).all():
                raise ModelError(
                    f"Expected finite logits under {attack.title}. Received NaN or infinity. Is the model trained?"
                )
            if devices.chief():
                self.cache.keep(made_by, outcome)
        self.outcomes[attack] = outcome
        return outcome

    def evaluations(self):
        """A row for clean images, then for each radius a row per group of attacks, the joint score and the floor."""
        rows = [self.row({"attack": "clean", "epsilon": 0.0}, [self.clean])]
        attacks = {epsilon: self.attacks(epsilon) for epsilon in sorted(set(self.options.epsilons)) if epsilon > 0}
        count = sum(map(len, itertools.chain.from_iterable(by_row.values() for by_row in attacks.values())))
        with tqdm(total=count, desc="Attacks", **devices.bars()) as bar:
            for epsilon, by_row in attacks.items():
                candidates, kept = [self.clean], [self.clean]
                for name, together in by_row.items():
                    found = []
                    for attack in together:
                        found.append(self.outcome(attack))
                        bar.update()
                    rows.append(self.attacked(name, together, found))
                    for answers, logits in ((candidates, [one.logits for one in found]), (kept, combined.kept(found))):
                        answers += logits
                        if len(logits) > 1 and not combined.each_label(together):
                            answers.append(self.worst(np.stack(logits), False))  # Or joint might be above this row.
                if self.options.suite == "standard":
                    rows += self._worst_rows(epsilon, candidates, kept if self.stored else [])
                if self.options.certify:
                    rows.append(self._certified_row(epsilon))
        # Apart from the others: what they change may change as much as it likes.
        for name in dict.fromkeys(extra for extra in self.options.extra if not catalogue.attack(extra).radius):
            attack = self._extra(name, {"seed": self.options.seed})
            rows.append(self.attacked(name, [attack], [self.outcome(attack)]))
        return rows + clinical.rows(self) if self.options.suite == "clinical" else rows

    def attacked(self, name, attacks, found):
        """The row of attacks that are scored together, from their outcomes."""
        record = combined.record(name, attacks, max(outcome.largest for outcome in found))
        settings = {"per_label": combined.each_label(attacks), "kept": combined.kept(found)}
        row = self.row(record, [outcome.logits for outcome in found], **settings)
        if self.stored:
            row["stored"]["levels"] = max(outcome.levels for outcome in found)
        return row

    def _worst_rows(self, epsilon, candidates, kept):
        """The joint score and the floor of all answers at one radius."""
        task, joint, floor = self.splits.task, *({"attack": name, "epsilon": epsilon} for name in ("joint", "floor"))
        if task.telling_accuracy:
            joint["robust_accuracy"] = outcomes.robust_accuracy(task, self.labels, candidates)
        return self.row(joint, candidates, kept=kept), self.row(floor, candidates, per_label=True, kept=kept)

    def _certified_row(self, epsilon):
        """What no attack in the ball can go below; see `certification`."""
        found = certification.of(self.model, self.splits.test, epsilon)
        record = found.record(epsilon, self.splits.task, self.thresholds, self.outcomes)
        return self.row(record, found.corners(self.splits.task), per_label=True)

    def attacks(self, epsilon):
        """The attacks at one radius, by the name of their row."""
        options = self.options
        settings = {"epsilon": epsilon, "seed": options.seed, "precision": options.precision}
        # The first start is at the image, as in APGD, the others are at random points.
        starts = (0, options.restarts - 1) if options.restarts > 1 else (0,)
        pgd = [named.pgd_of(steps=options.steps, restarts=count, **settings) for count in starts]
        found = {"fgsm": [named.of("fgsm", **settings)], "pgd": pgd}
        if self.splits.task.several:
            found["pgd-auc"] = [named.at_auc(attack, True) for attack in pgd]
        if options.suite == "standard":
            found |= named.standard_suite(
                self.splits.task,
                len(self.splits.label_names),
                **settings,
                steps=options.steps,
                restarts=options.restarts,
                queries=options.queries,
            )
        if self.other:
            found["transfer"] = [dataclasses.replace(attack, attack="transfer") for attack in pgd]
        settings |= {"restarts": options.restarts, "random_start": options.restarts > 1}
        extras = [extra for extra in options.extra if catalogue.attack(extra).radius]
        return found | {extra: [self._extra(extra, settings)] for extra in extras}

    def _extra(self, extra, settings):
        """An attack of `--extra`."""
        name, _, finding = extra.partition("=")
        steps = self.options.steps if catalogue.ATTACKS[name].gradient else self.options.queries
        label = self.splits.label_names.index(finding) if finding else None
        return named.of(name, label=label, steps=steps, **settings)

    def _thresholds(self):
        """The run's own thresholds, else those with the best F1 on the clean validation split; never re-tuned."""
        if self.options.thresholds == "grid":
            if self.known and self.known["data"].get("sha256") != self.splits.sha256:
                raise RunError(
                    "--thresholds grid: expected the run's own data, as thresholds are not tuned again on others. "
                    f"Received {self.splits.name}. Leave it out: the run's own thresholds are taken."
                )
            return outcomes.thresholds(self.model, self.splits, metrics.grid_thresholds)
        names, stored = self.splits.label_names, self.known.get("thresholds", {})
        if set(names) <= set(stored):
            return np.array([stored[name] for name in names])
        return outcomes.thresholds(self.model, self.splits)

    def curve_over_steps(self, epsilon):
        """Macro AUC under PGD with more and more steps, to twice the attack's own, on the images of the audit."""
        task, split = self.splits.task, self.splits.test
        labels = split.labels[audit.chosen(split)]
        curve, counts = [], [steps for steps in CURVE_STEPS if steps <= 2 * self.options.steps]
        for steps in tqdm(counts, desc="Steps", leave=False, **devices.bars()):
            attack = named.pgd_of(epsilon, steps, seed=self.options.seed, precision=self.options.precision)
            logits = audit.run_on_sample(self.model, task, split, attack, known=self.outcomes).logits
            auc = metrics.macro(metrics.auc(labels, task.ranks(logits)))
            curve.append({"steps": steps, "macro_auc": None if np.isnan(auc) else auc})
        return {"epsilon": epsilon, "images": len(labels), "points": curve}

    def audit(self, epsilon, rows, facts):
        """The audit's lines for PGD at one radius, and for all rows; `facts` are what the loader found out."""
        task, settings = self.splits.task, {"seed": self.options.seed, "precision": self.options.precision}
        return audit.of_split(
            self.model,
            task,
            self.splits.test,
            audit.in_question(task, epsilon, self.options.steps, **settings),
            variables=self.model.variables,
            thorough=self.options.suite == "standard",
            source=self.other,
            undefended=self.undefended,
            known=self.outcomes,
            rows=rows,
            train=self.splits.train,
            facts=facts,
        )

    def _undefended(self, path):
        """The baseline that the run was compared with, the model itself if it is one, or a text why there is none.

        The second is the baseline's file, if it isn't the model itself.
        """
        if not self.known:
            return audit.UNKNOWN, None
        if "baseline" not in self.known:
            return self.model, None
        baseline, reason = runs.baseline_of(path.parent, self.known)
        return (models.opened(baseline, self.splits).model, baseline) if baseline else (reason, None)
