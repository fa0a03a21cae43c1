"""What the labels of a data set are to each other, and all that follows from it for losses, scores and reports."""

import enum

import numpy as np

from chestrobust.catalogue import resolve

# Of independent labels, and of classes that exclude each other.
_FUNCTIONS = {
    "loss": ("binary_cross_entropy", "cross_entropy"),
    "margin": ("margin", "class_margin"),
    "linear": ("linear", "linear_log_odds"),
    # The one class of an image is hidden by any other.
    "hide": ("hide", "cross_entropy"),
}
# Those that training minimizes, averaged over labels as Keras does; by the values of --loss.
_TRAINING = {
    "bce": ("mean_binary_cross_entropy", "cross_entropy"),
    "weighted": ("weighted", "class_weighted"),
    "focal": ("focal", "categorical_focal"),
    "asymmetric": ("asymmetric", None),
    "pairwise": ("pairwise", None),
}


class Task(enum.StrEnum):
    """The task of a data set. Losses are functions `loss(labels, logits)` returning a value per image."""

    MULTI_LABEL = "multi-label"
    BINARY = "binary"
    MULTI_CLASS = "multi-class"

    @property
    def exclusive(self):
        """Whether labels are classes, of which every image has exactly one."""
        return self is Task.MULTI_CLASS

    @property
    def several(self):
        """Whether an image has several labels: an attack on their mean AUC then weighs them, see `attacks.aim`."""
        return self is Task.MULTI_LABEL

    @property
    def telling_accuracy(self):
        """Whether accuracy says something: of many rare labels, answering no to everything scores high."""
        return self is not Task.MULTI_LABEL

    @property
    def loss(self):
        """The cross-entropy: a sum over labels, so that an image's gradient doesn't depend on its batch."""
        return _function(_FUNCTIONS["loss"][self.exclusive])

    @property
    def loss_name(self):
        """The loss in the names of attacks."""
        return ("bce", "ce")[self.exclusive]

    @property
    def margin(self):
        """The loss without saturation."""
        return _function(_FUNCTIONS["margin"][self.exclusive])

    @property
    def linear(self):
        """The loss that takes weights in the place of labels."""
        return _function(_FUNCTIONS["linear"][self.exclusive])

    @property
    def hide(self):
        """The loss that is high when nothing that is present is seen."""
        return _function(_FUNCTIONS["hide"][self.exclusive])

    @property
    def training_losses(self):
        """Names of the losses that `training_loss` knows."""
        return tuple(name for name, functions in _TRAINING.items() if functions[self.exclusive])

    def training_loss(self, name):
        """A loss of training, averaged over labels; `"weighted"` takes the weights before labels and logits."""
        return _function(_TRAINING[name][self.exclusive])

    @property
    def activation(self):
        """Name of what turns logits into probabilities."""
        return ("sigmoid", "softmax")[self.exclusive]

    @property
    def activate(self):
        """TensorFlow's function of that name."""
        return resolve(f"tensorflow:nn.{self.activation}")

    def probabilities(self, logits):
        """Probabilities of logits, in float64."""
        logits = np.asarray(logits, np.float64)
        # Not at the top: SciPy takes a fifth of a second, for which `--help` needn't wait.
        softmax, expit = resolve("scipy.special:softmax"), resolve("scipy.special:expit")
        return softmax(logits, axis=-1) if self.exclusive else expit(logits)

    def ranks(self, logits):
        """What an AUC is computed from, float64: logits, or of classes the log-odds of each against the rest.

        They rank images as probabilities do, but a sigmoid or a softmax turns large ones into ties, which change an
        AUC.
        """
        logits = np.asarray(logits, np.float64)
        if not self.exclusive:
            return logits
        others = np.stack([np.delete(logits, label, axis=-1) for label in range(logits.shape[-1])], axis=-2)
        return logits - np.logaddexp.reduce(others, axis=-1)

    def predicted(self, logits, thresholds):
        """Which labels a report names, bool: those whose probability reaches its threshold, or the likeliest class.

        Args:
            logits: `(count, num_labels)`.
            thresholds: Of probabilities, `(num_labels,)`; classes need none.
        """
        scores = self.probabilities(logits)
        if self.exclusive:
            return np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)]
        return scores >= thresholds

    def strata(self, labels):
        """A number for each image's class, by which folds are made alike; None if it has several labels."""
        return None if self is Task.MULTI_LABEL else labels @ np.arange(1, labels.shape[1] + 1)

    def apart(self):
        """The task if each label is taken for itself, one class against the rest."""
        return Task.MULTI_LABEL if self.exclusive else self

    def of(self, count):
        """The task if `count` of the labels are left."""
        return Task.BINARY if count == 1 and not self.exclusive else self


def _function(name):
    return resolve(f"chestrobust.losses:{name}")
