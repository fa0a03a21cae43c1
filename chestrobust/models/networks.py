"""Models by name. Each takes images in [0, 1] and ends in a layer `logits` followed by its activation."""

import keras
from keras import layers

from chestrobust.config import DROPOUT
from chestrobust.data import metadata
from chestrobust.models.blocks import attended, ending, residual


def build_cnn(input_shape, num_labels, *, dropout=DROPOUT, activation="sigmoid", momentum=0.9, attention="none"):
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
        attention: What follows each ReLU; see `attended`.

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
        x = attended(x, attention, name=f"attention{block}")
        if block < 3:
            x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout1")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    x = layers.Dropout(dropout, name="dropout2")(x)
    return ending(inputs, x, num_labels, activation, name="cnn")


def build_vgg(input_shape, num_labels, *, dropout=DROPOUT, activation="sigmoid", attention="none"):
    """A small network in the manner of VGG (Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556).

    Images are moved to [-1, 1]; two blocks of two 3x3 convolutions, of 32 and 64 filters, each with max-pooling; a
    dense layer of 256 units before the dropout. Arguments and result are those of `build_cnn`.
    """
    inputs = layers.Input(input_shape, name="images")
    x = layers.Rescaling(2.0, -1.0, name="normalize")(inputs)
    for block, filters in enumerate((32, 64), start=1):
        for part in "ab":
            x = layers.Conv2D(filters, 3, padding="same", name=f"conv{block}{part}")(x)
            x = layers.ReLU(name=f"relu{block}{part}")(x)
        x = attended(x, attention, name=f"attention{block}")
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(256, activation="relu", name="dense")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return ending(inputs, x, num_labels, activation, name="vgg")


def build_covid_cnn(input_shape, num_labels, *, dropout=DROPOUT, activation="sigmoid", momentum=0.9, attention="none"):
    """A network for X-rays of some 112 px, which its authors classified as COVID-19 or not.

    Nine 3x3 convolutions, each followed by ReLU and BatchNorm, the first two with stride 2, max-pooling after the last
    two, and dense layers of 1024, 128 and 16 units. Images are normalized by mean 0.5 and standard deviation 0.25.
    Padded, so that it also takes 28 px; its first dense layer holds most weights, and grows with the images.

    Arguments and result are those of `build_cnn`, but nothing is dropped: `dropout` is taken for the sake of `build`.
    """
    del dropout
    inputs = layers.Input(input_shape, name="images")
    x = layers.Rescaling(4.0, -2.0, name="normalize")(inputs)
    for block, filters in enumerate((64, 128, 128, 256, 256, 256, 512, 512, 1024), start=1):
        x = layers.Conv2D(filters, 3, strides=2 if block < 3 else 1, padding="same", name=f"conv{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.BatchNormalization(momentum=momentum, name=f"norm{block}")(x)
        x = attended(x, attention, name=f"attention{block}")
        if block > 7:
            x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    for units in (1024, 128, 16):
        x = layers.Dense(units, activation="relu", name=f"dense{units}")(x)
    return ending(inputs, x, num_labels, activation, name="covid_cnn")


def build_robust_cnn(input_shape, num_labels, *, dropout=DROPOUT, activation="sigmoid", momentum=0.9, attention="none"):
    """A compact residual network, made to be trained adversarially.

    A 5x5 convolution of 32 filters with stride 2, then three residual blocks of 32, 64 and 128 filters, the last two
    with stride 2; BatchNorm and ReLU stand before the convolutions (He et al., 2016,
    https://arxiv.org/abs/1603.05027), and once more before the average over the maps that remain.

    Arguments and result are those of `build_cnn`.
    """
    inputs = layers.Input(input_shape, name="images")
    x = layers.Conv2D(32, 5, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    for block, filters in enumerate((32, 64, 128), start=1):
        x = residual(x, filters, strides=1 if block == 1 else 2, momentum=momentum, name=f"block{block}")
        x = attended(x, attention, name=f"attention{block}")
    x = layers.BatchNormalization(momentum=momentum, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return ending(inputs, x, num_labels, activation, name="robust_cnn")


def build_certified_cnn(input_shape, num_labels, *, dropout=DROPOUT, activation="sigmoid", attention="none"):
    """A small network whose bounds stay narrow: few layers, and no BatchNorm or pooling, which widen them.

    Two 4x4 convolutions of 32 and 64 filters with stride 2, each followed by ReLU, and a dense layer of 100 units: the
    smallest network of Gowal et al., 2018 (https://arxiv.org/abs/1810.12715), with twice the filters. Its first dense
    layer holds most weights, and grows with the images.

    Arguments and result are those of `build_cnn`, but nothing is dropped: `dropout` is taken for the sake of `build`.
    """
    del dropout
    inputs = x = layers.Input(input_shape, name="images")
    for block, filters in enumerate((32, 64), start=1):
        x = layers.Conv2D(filters, 4, strides=2, padding="same", name=f"conv{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = attended(x, attention, name=f"attention{block}")
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(100, activation="relu", name="dense")(x)
    return ending(inputs, x, num_labels, activation, name="certified_cnn")


def with_metadata(classifier, input_shape):
    """A classifier whose features are joined by the metadata in the last channels of its images.

    Args:
        classifier: A model of this file, for the pixels alone; its layer `logits` is made anew.
        input_shape: `(height, width, channels)` of images with metadata, as `metadata.beside` makes them.
    """
    inputs = layers.Input(input_shape, name="images")
    last = classifier.get_layer("logits")
    features = keras.Model(classifier.input, last.input, name="features")(metadata.pixels(inputs))
    known = keras.ops.mean(inputs[..., classifier.input_shape[-1] :], axis=(1, 2))
    known = keras.ops.round(metadata.STEPS * known) / metadata.STEPS  # lets no gradient through
    x = layers.Concatenate(name="with_metadata")([features, known])
    activation = classifier.layers[-1].activation.__name__
    return ending(inputs, x, last.units, activation, name=f"{classifier.name}_with_metadata")
