"""The search of `tune.py`: what a trial is, how it is kept, and what is reported. The only module that needs Optuna."""

import dataclasses
import json
import os
import shutil
import sqlite3
import warnings
from contextlib import contextmanager

import keras
import numpy as np
import optuna
import sqlalchemy
from tqdm import tqdm

from chestrobust import config, files, interruption, locks, runs, titles
from chestrobust.attacks import named
from chestrobust.errors import RunError, TrainingError
from chestrobust.reporting import figures, graphs
from chestrobust.training import experiment, loop, methods

# Wide enough for fine-tuning as for training from scratch.
SPACE = {
    "learning_rate": lambda trial, name: trial.suggest_float(name, 1e-5, 1e-2, log=True),
    "optimizer": lambda trial, name: trial.suggest_categorical(name, ("adam", "adamw", "rmsprop", "sgd")),
    "batch_size": lambda trial, name: trial.suggest_categorical(name, (16, 32, 64, 128)),
    "schedule": lambda trial, name: trial.suggest_categorical(name, ("exponential", "cosine", "constant")),
    "dropout": lambda trial, name: trial.suggest_float(name, 0, 0.7),
    "weight_decay": lambda trial, name: trial.suggest_float(name, 1e-5, 1e-1, log=True),
    "adv_weight": lambda trial, name: trial.suggest_float(name, 0.1, 1),
}
STATES = optuna.trial.TrialState
ENDED = (STATES.COMPLETE, STATES.PRUNED)
LOCK = ".study.lock"
ENOUGH = 20  # complete trials to tell which options matter
# What decides whether a search may be continued: a trial with other values can't be compared.
FREE = ("trials", "run", "params", "root", "data_dir", "strategy")


def search(options, fixed, splits, folder):
    """Run trials until there are enough of them in the study, which other processes may add to.

    Args:
        options: A `tune.TuneConfig`.
        fixed: Names of the options that are not searched.
        splits: The `Splits`; the test split isn't touched.
        folder: Where `study.db`, `best.json`, the figures and `trials/` go.

    Returns:
        Text to print.

    Raises:
        RunError: If the folder holds a search with other options or data.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _explained(folder):
        return _search(options, fixed, splits, folder)


def _search(options, fixed, splits, folder):
    study = _open(options, fixed, splits, folder)
    searched = _searched(options, fixed)
    done = sum(trial.state in ENDED for trial in study.get_trials(deepcopy=False))
    shown = {"desc": "Trials", "unit": " trainings", "disable": None}
    with tqdm(total=options.trials, initial=min(done, options.trials), **shown) as bar:

        def objective(trial):
            interruption.check()
            study.sampler = _sampler(options.seed, trial.number)
            try:
                reporter = Reporter(trial, options, splits, bar)
                return _train(trial, options, searched, splits, folder / "trials" / f"{trial.number:04d}", reporter)
            except TrainingError as error:  # A diverged training is a bad one, not a broken search.
                trial.set_user_attr("error", str(error))
                raise optuna.TrialPruned from None

        def report_on(study, trial):
            ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state in ENDED]
            bar.n = min(len(ended), options.trials)
            bar.set_postfix_str(_best_so_far(study, options, fixed, folder))
            if len(ended) >= options.trials:
                study.stop()

        if done < options.trials:
            study.optimize(objective, callbacks=[report_on])
    return _summary(study, options, fixed, splits, folder)


def _open(options, fixed, splits, folder):
    """The study in a folder, new or as it was left; others take the place of trainings that were killed."""
    # One after the other, as SQLite's tables can't be made twice.
    with files.open_own(folder / LOCK) as lock, warnings.catch_warnings():
        locks.exclusive(lock, wait=True)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # about the heartbeat
        path = str(folder / "study.db")
        storage = optuna.storages.RDBStorage(
            "sqlite:///study.db",  # No path here: in a URL, ? and % mean something else.
            # The pool's threads are not the one that connects; 60 seconds to wait for another process.
            engine_kwargs={"creator": lambda: sqlite3.connect(path, timeout=60, check_same_thread=False)},
            heartbeat_interval=10,
            grace_period=60,
        )
        study = optuna.create_study(
            storage=storage,
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        )
    now = {name: value for name, value in dataclasses.asdict(options).items() if name not in FREE}
    now |= {"data": splits.sha256, "searched": sorted(_searched(options, fixed))}
    now = json.loads(json.dumps(now))
    before = study.user_attrs.get("options", now)
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise RunError(
            f"{folder}: expected the options and data that this search was started with. "
            f"Received another {', '.join(changed)}. Choose another --run."
        )
    study.set_user_attr("options", now)
    return study


def _sampler(seed, number):
    """What proposes a trial's values: by the seed, its number and the trials before it, whichever process it is in."""
    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


@contextmanager
def _explained(folder):
    """Turns a full disk or a damaged `study.db` into a `RunError`."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise RunError(
            f"{folder / 'study.db'}: expected a study of Optuna that can be read and written. Received: {reason:.200}. "
            "Free some disk space, or choose another --run."
        ) from error
    except OSError as error:
        raise RunError(
            f"{folder}: expected to be able to write here. Received: {error.strerror or error}. "
            "Trials that are finished are kept: put this right, then continue."
        ) from error


def _searched(options, fixed):
    """Names of the options that are searched."""
    names = [name for name in SPACE if name not in fixed]
    if not options.adversarial:
        names = [name for name in names if name != "adv_weight"]
    if "optimizer" in fixed and options.optimizer != "adamw":
        names = [name for name in names if name != "weight_decay"]
    return names


def selection(options, splits):
    """The attack under which a search compares trainings."""
    if options.objective != "robust":
        return named.CLEAN
    pgd = named.reported_pgd(**config.picked(options, config.ATTACK))
    return named.choosing_pgd(pgd, splits.task.several, options.select_epsilon)


class Reporter(keras.callbacks.Callback):
    """Tells a trial its validation AUC after each epoch, and ends it if it is among the worse half."""

    def __init__(self, trial, options, splits, bar):
        super().__init__()
        self.trial, self.bar, self.epochs = trial, bar, options.epochs
        self.score = titles.validation_score("auc", selection(options, splits).attack)

    def on_epoch_end(self, epoch, logs=None):
        score = logs[self.score]
        self.bar.set_postfix_str(f"trial {self.trial.number}, epoch {epoch + 1}/{self.epochs}, {score:.4f}")
        self.trial.report(score, epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def _train(trial, options, searched, splits, folder, reporter):
    """One training; returns the best validation macro AUC. Of its files the history is kept."""
    values = {}
    for name in searched:
        if name != "weight_decay" or values.get("optimizer", options.optimizer) == "adamw":
            values[name] = SPACE[name](trial, name)
    names = [field.name for field in dataclasses.fields(config.AdversarialConfig)]
    given = {name: getattr(options, name) for name in names}
    trained = config.AdversarialConfig(**{**given, **values, "run": str(folder)})
    run = runs.Run(folder)
    shutil.rmtree(folder, ignore_errors=True)
    run.start(trained, data=splits.sha256)
    classifier = experiment.new_classifier(trained, splits)
    ways = {"selection": selection(options, splits), "callback": reporter}
    if options.adversarial:
        ways["examples"] = methods.examples_of(trained, splits, classifier)
    try:
        return loop.train(classifier, splits, experiment.recipe(trained), run, **ways)[1]["best_val_auc"]
    finally:
        for name in ("model.keras", "last.keras", "state.npz"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "logs", ignore_errors=True)
        keras.backend.clear_session()  # The graphs of a search would otherwise fill the memory.
        interruption.check()


def _best_so_far(study, options, fixed, folder):
    """Write `best.json`, with what could have been searched but was given; returns a few words for the bar."""
    complete = study.get_trials(deepcopy=False, states=(STATES.COMPLETE,))
    if not complete:
        return "none complete"
    best = {name: getattr(options, name) for name in SPACE if name in fixed} | study.best_params
    with _writing(folder / "best.json") as temporary:
        temporary.write_text(json.dumps(best, indent=2) + "\n")
    return f"best {study.best_value:.4f}"


def _summary(study, options, fixed, splits, folder):
    """Figures and text about a search."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == STATES.COMPLETE]
    pruned = sum(trial.state == STATES.PRUNED for trial in trials)
    data = titles.data_title(splits.summary())
    lines = [f"{data}: {len(complete)} trials complete, {pruned} pruned"]
    if not complete:
        return "\n".join([*lines, "No best one yet: use more --trials, or a smaller --learning-rate."])
    _best_so_far(study, options, fixed, folder)
    values = [(trial.number, trial.value) for trial in complete]
    title = f"{data}: {options.objective} validation macro AUC"
    drawn = {"history": graphs.search_history(values, title=title)}
    if importance := _importance(study, _searched(options, fixed)):
        drawn["importance"] = graphs.importance(importance, title=f"{title}: importance of options (fANOVA)")
    for name, figure in drawn.items():
        for ending in figures.FORMATS:
            with _writing(folder / f"{name}{ending}") as temporary:
                figures.save(figure, temporary)
    lines += [f"Best, trial {study.best_trial.number}: validation macro AUC {study.best_value:.4f}"]
    lines += [f"  {name}: {value}" for name, value in study.best_params.items()]
    return "\n".join([*lines, f"For the training scripts: --params {folder / 'best.json'}"])


@contextmanager
def _writing(path):
    """As `runs.writing`, for a folder that several processes write to."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with files.explained(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _importance(study, searched):
    """Importance of each option that all complete trials have, or None while there are too few to tell."""
    complete = study.get_trials(deepcopy=False, states=(STATES.COMPLETE,))
    common = [name for name in searched if all(name in trial.params for trial in complete)]
    # A constant score has no variance to explain, and few trials explain it by chance.
    if len(complete) < ENOUGH or len({trial.value for trial in complete}) < 2:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, params=common)
