"""Models by name. Each takes images in [0, 1] and ends in a layer `logits` followed by its activation."""

import keras
from keras import layers

import modelfiles
from modelfiles import ModelError


def build_cnn(input_shape, num_labels, *, dropout=0.5, activation="sigmoid", momentum=0.9):
    """A small convolutional network: the default model.

    Three 3x3 convolutions of 32, 64 and 128 filters, each followed by BatchNorm and ReLU, max-pooling after the first
    two, global average pooling, and a dense layer of 128 units between two dropouts.

    Args:
        input_shape: `(height, width, channels)` of the images.
        num_labels: Number of labels (or classes).
        dropout: Share of units dropped before each dense layer.
        activation: `"sigmoid"` for multi-label and binary tasks, `"softmax"` for multi-class ones.
        momentum: Of BatchNorm's moving averages. Keras's default of 0.99 needs several hundred steps to forget its
            start; a small data set has some 40 steps per epoch, so validation would sit at chance for ten epochs.

    Returns:
        A functional `keras.Model` from float images in [0, 1], `(batch, *input_shape)`, to probabilities,
        `(batch, num_labels)`.
    """
    inputs = x = layers.Input(input_shape, name="images")
    for block, filters in enumerate((32, 64, 128), start=1):
        # BatchNorm adds its own offset. It stands before the ReLU so that it can be folded into the convolution.
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=momentum, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        if block < 3:
            x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout1")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    x = layers.Dropout(dropout, name="dropout2")(x)
    x = layers.Dense(num_labels, name="logits")(x)
    return keras.Model(inputs, layers.Activation(activation, name="probabilities")(x), name="cnn")


def logits(classifier):
    """The same weights ending at the layer `logits`: what attacks and losses call.

    Make it once per classifier: attacks are compiled per model.

    Args:
        classifier: A functional `keras.Model` with a layer named `logits`.

    Raises:
        ValueError: If there is no such layer.
    """
    return keras.Model(classifier.input, classifier.get_layer("logits").output, name=f"{classifier.name}_logits")


def load(path):
    """A saved classifier, in Keras's safe mode.

    Raises:
        ModelError: If the file can't be loaded.
    """
    modelfiles.check(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its reader meets: OSError, ValueError, TypeError, KeyError ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: expected a model as Keras saves it. Received: {reason:.300}") from None


def load_logits(path):
    """Any saved classifier as a model that returns logits.

    Args:
        path: A `.keras` file that takes images in [0, 1]. Its output is a sigmoid or a softmax, as a layer or as the
            activation of a dense one, or logits.

    Returns:
        A functional `keras.Model` and its activation: `"sigmoid"`, `"softmax"` or `"linear"`.

    Raises:
        ModelError: If the file can't be loaded, or its output is none of these.
    """
    classifier = load(path)
    if len(classifier.inputs) != 1 or len(classifier.outputs) != 1 or len(classifier.outputs[0].shape) != 2:
        shapes = [tensor.shape for tensor in classifier.outputs]
        raise ModelError(f"{path}: expected one image in and one row of answers out. Received: {shapes}.")
    images, answers, last = classifier.inputs[0], classifier.outputs[0], classifier.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "linear")
    name = {"Sigmoid": "sigmoid", "Softmax": "softmax"}.get(type(last).__name__, activation)
    if name not in ("sigmoid", "softmax", "linear"):
        raise ModelError(f"{path}: expected sigmoid, softmax or logits at the end. Received: {name}.")
    if isinstance(last, layers.Dense):
        # Only in memory: the layer then returns what its activation would have been given.
        last.activation = keras.activations.linear
    elif name != "linear":
        answers = last.input
    return keras.Model(images, answers, name=f"{classifier.name}_logits"), name


def answering(model, columns):
    """A model with some of its logits alone, in this order: what is attacked is what is scored.

    Args:
        model: A functional `keras.Model` that returns logits.
        columns: Indices of the logits wanted.
    """
    return keras.Model(model.input, keras.ops.take(model.output, columns, axis=-1), name=f"{model.name}_some")
