"""The files that training goes on from: `state.npz` with all that it needs, `model.keras` with the best weights.

The state knows the digest of the model that belongs to it. Better weights wait in `next.keras` for the state that tells
of them, and take the place of `model.keras` then; so at any moment one of the two is the state's.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field

import numpy as np

from chestrobust import devices, files
from chestrobust.errors import RunError, TrainingError, setting
from chestrobust.runs import arrays, provenance

SAVE_EVERY = 60  # seconds at least between checkpoints inside an epoch
SHARE = 0.02  # of the time of training that checkpoints may take, there and at the end of epochs
BYTES_PER_SECOND = 2e8  # a guess at the first checkpoint's speed; then it is measured


@dataclass
class State:
    """Where training stands, apart from variables: what a resumed run starts from.

    Attributes:
        epoch, step: Epochs that are done, and steps of the next one.
        best, best_epoch: Score and number, from 0, of the epoch whose weights are in `model.keras`; -1 if none is.
        seconds: Time of training until the checkpoint, without what was lost by being killed.
        saving: Part of it that went into checkpoints.
        collapses: How often the best weights were taken back.
        history: What was logged of each epoch.
        digest: SHA-256 of that `model.keras`; empty if there is none.
    """

    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    seconds: float = 0.0
    saving: float = 0.0
    collapses: int = 0
    history: list = field(default_factory=list)
    digest: str = ""


class Checkpoint:
    """Writes and reads both files; only the chief writes.

    Args:
        run: The `Run`.
        model: The `keras.Model` in training, compiled: its weights, its SeedGenerators and its optimizer are saved.
        running: Keras metrics that are saved too.
        average: The `Average` of the model's weights, which is what both `.keras` files hold.
    """

    def __init__(self, run, model, running, average):
        self.state_file, self.best_file = run.path / "state.npz", run.path / "model.keras"
        self.next_file = run.path / "next.keras"
        self.model = model
        metrics = [variable for metric in running for variable in metric.variables]
        self.variables = [*model.variables, *model.optimizer.variables, *metrics, *average.variables]
        self.average = average
        self.last = None  # the epoch and step, from 1, of what is in `state.npz`
        self.best = None  # a classifier and its best weights, if they aren't in `model.keras` yet
        self.cost = sum(variable.numpy().nbytes for variable in self.variables) / BYTES_PER_SECOND
        self.clock = time.monotonic()

    def restore(self):
        """Set the variables from the file and return its `State`; a new one if there is no file.

        Raises:
            TrainingError: If the file is damaged, or of another version of the model.
        """
        archive = devices.from_chief(self._read)
        if archive is None:
            self._forget_next()
            return State()
        shapes = {str(number): tuple(variable.shape) for number, variable in enumerate(self.variables)}
        try:
            saved = json.loads(str(archive.pop("state")))
            fits = {name: array.shape for name, array in archive.items()} == shapes and set(saved) == set(vars(State()))
        except (KeyError, TypeError, ValueError, RecursionError):
            fits = False
        if not fits:
            raise TrainingError(
                f"{self.state_file}: expected a checkpoint of this version and this model. Received another. "
                f"Use {setting('overwrite', True)}."
            )
        for number, variable in enumerate(self.variables):
            variable.assign(archive[str(number)])
        state = State(**saved)
        if state.best_epoch >= 0 and not devices.from_chief(lambda: self._has_best(state.digest)):
            received = "others" if self.best_file.is_file() else "no such file"
            raise TrainingError(
                f"{self.best_file}: expected the best weights so far, as the checkpoint knows them. "
                f"Received {received}. Use {setting('overwrite', True)}."
            )
        self._forget_next()
        self.last = state.epoch, state.step
        return state

    def _forget_next(self):
        """Remove better weights that no state tells of; training comes to them again."""
        if devices.chief():
            with files.explained(self.next_file):
                self.next_file.unlink(missing_ok=True)

    def _read(self):
        try:
            return arrays.load(self.state_file)
        except FileNotFoundError:
            return None
        except RunError as error:
            raise TrainingError(f"{error} Use {setting('overwrite', True)}.") from None

    def _has_best(self, digest):
        """Whether `model.keras` is the one with a digest, or `next.keras`, which takes its place then."""
        if files.is_own(self.best_file) and provenance.sha256(self.best_file) == digest:
            return True
        if files.is_own(self.next_file) and provenance.sha256(self.next_file) == digest:
            self._promote()
            return True
        return False

    def _promote(self):
        with files.explained(self.best_file):
            os.replace(self.next_file, self.best_file)

    def save(self, state):
        """Write `state.npz`, and `model.keras` if it is to hold other weights than it does.

        Raises:
            TrainingError: If a variable isn't finite; the checkpoint before stays.
            RunError: If it can't be written.
        """
        begun = time.monotonic()
        state.seconds += begun - self.clock
        self.clock = begun
        if not devices.chief():
            return
        arrays = {str(number): variable.numpy() for number, variable in enumerate(self.variables)}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise self.diverged("weights", "NaN or infinity", state)
        self._write_best()
        waiting = files.is_own(self.next_file)
        if waiting:
            state.digest = provenance.sha256(self.next_file)
        with files.writing(self.state_file) as temporary:
            np.savez(temporary, state=json.dumps(asdict(state)), **arrays)
        if waiting:
            self._promote()
        self.last = state.epoch, state.step
        self.cost = time.monotonic() - begun
        state.saving += self.cost

    def save_if_due(self, state, every=None):
        """`save` if the last time is `every` seconds ago (default: `SAVE_EVERY`), and long enough for its cost."""
        past = time.monotonic() - self.clock
        if past > (SAVE_EVERY if every is None else every) and SHARE * past > self.cost:
            self.save(state)

    def keep(self, classifier):
        """Take the average of the classifier's weights for the best so far; `save` writes them."""
        with self.average.in_place():
            if devices.worker()[1] > 1:
                # At once: later, all workers would have to change weights in step.
                self._write(classifier, self.next_file.name)
            else:
                self.best = classifier, classifier.get_weights()

    def best_weights(self, classifier):
        """What `keep` took last, wherever it is; the classifier is one of the same architecture."""
        if self.best is not None:
            return self.best[1]
        file = self.next_file if files.is_own(self.next_file) else self.best_file
        return devices.load(file, like=classifier).get_weights()

    def finish(self, classifier, state):
        """`save`, and write the average of the classifier's weights to `last.keras`."""
        begun = time.monotonic()
        with self.average.in_place():
            self._write(classifier, "last.keras")
        state.saving += time.monotonic() - begun
        self.save(state)

    def _write_best(self):
        if self.best is None:
            return
        classifier, weights = self.best
        present = classifier.get_weights()
        classifier.set_weights(weights)
        try:
            self._write(classifier, self.next_file.name)
        finally:
            classifier.set_weights(present)
        self.best = None

    def _write(self, classifier, name):
        if devices.chief():
            with files.writing(self.best_file.with_name(name)) as temporary:
                classifier.save(temporary)

    def diverged(self, what, received, state):
        """The `TrainingError` of numbers that are no longer finite, with the files that still are."""
        self._write_best()
        good = []
        if state.best_epoch >= 0:
            best = self.next_file if files.is_own(self.next_file) else self.best_file
            good.append(f"{best} (epoch {state.best_epoch + 1})")
        if self.last:
            good.append(f"{self.state_file} (epoch {self.last[0] + 1}, {self.last[1]} steps)")
        rate = float(self.model.optimizer.learning_rate)
        return TrainingError(
            f"Epoch {state.epoch + 1}, step {state.step + 1}, learning rate {rate:.3g}: expected finite {what}. "
            f"Received: {received}. Last good checkpoint: {' and '.join(good) or 'none yet'}. "
            f"Try a smaller {setting('learning_rate')} in another {setting('run')}."
        )
