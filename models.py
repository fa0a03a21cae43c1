"""Models by name. Each takes images in [0, 1] and ends in a layer `logits` followed by its activation."""

import keras
from keras import layers


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
