"""Models by name. Each takes images in [0, 1] and ends in a layer `logits` followed by its activation."""

import keras
from keras import layers

import metadata
import modelfiles
from modelfiles import ModelError


def build(name, input_shape, num_labels, *, weights="none", freeze=False, backbone_size=None, **settings):
    """The model of a `--model`: see `build_cnn`, `build_vgg`, `build_covid_cnn` and `backbones.build`.

    Raises:
        ModelError: If the weights can't be had.
    """
    pixels = metadata.pixel_channels(input_shape)
    if pixels < input_shape[-1]:
        own = {"weights": weights, "freeze": freeze, "backbone_size": backbone_size, **settings}
        return with_metadata(build(name, (*input_shape[:2], pixels), num_labels, **own), input_shape)
    if name in HAND_MADE:
        return HAND_MADE[name](input_shape, num_labels, **settings)
    import backbones

    return backbones.build(
        name, input_shape, num_labels, weights=weights, freeze=freeze, size=backbone_size, **settings
    )


def build_cnn(input_shape, num_labels, *, dropout=0.5, activation="sigmoid", momentum=0.9, attention="none"):
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


def build_vgg(input_shape, num_labels, *, dropout=0.5, activation="sigmoid", attention="none"):
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


def build_covid_cnn(input_shape, num_labels, *, dropout=0.5, activation="sigmoid", momentum=0.9, attention="none"):
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


HAND_MADE = {"cnn": build_cnn, "vgg": build_vgg, "covid_cnn": build_covid_cnn}


def ending(inputs, features, num_labels, activation, name):
    """The model from `inputs` to probabilities, with the layer `logits` before them."""
    x = layers.Dense(num_labels, name="logits")(features)
    return keras.Model(inputs, layers.Activation(activation, name="probabilities")(x), name=name)


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


def attended(x, kind, name):
    """Feature maps weighted by channel, and with CBAM by place too.

    Args:
        x: Feature maps, `(batch, height, width, channels)`.
        kind: `"none"`; `"se"`, squeeze-and-excitation (Hu et al., 2018, https://arxiv.org/abs/1709.01507); or
            `"cbam"`, the convolutional block attention module (Woo et al., 2018, https://arxiv.org/abs/1807.06521).
        name: What the layers' names start with.
    """
    if kind == "none":
        return x
    height, width, channels = x.shape[1:]
    squeeze = layers.Dense(max(channels // 16, 4), activation="relu", name=f"{name}_squeeze")
    excite = layers.Dense(channels, name=f"{name}_excite")
    pools = [layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_average")]
    if kind == "cbam":
        pools.append(layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_max"))
    scores = [excite(squeeze(pool(x))) for pool in pools]
    score = layers.Add(name=f"{name}_sum")(scores) if len(scores) > 1 else scores[0]
    gate = layers.Activation("sigmoid", name=f"{name}_channels")(score)
    x = layers.Multiply(name=f"{name}_by_channel")([x, gate])
    if kind == "se":
        return x
    # The mean and maximum over channels, by layers that every Keras can load: channels become the steps of a sequence.
    flat = layers.Permute((2, 1), name=f"{name}_permute")(layers.Reshape((-1, channels), name=f"{name}_flat")(x))
    maps = [
        layers.GlobalAveragePooling1D(name=f"{name}_mean_map")(flat),
        layers.GlobalMaxPooling1D(name=f"{name}_max_map")(flat),
    ]
    maps = [layers.Reshape((height, width, 1), name=f"{name}_map{number}")(m) for number, m in enumerate(maps)]
    gate = layers.Conv2D(1, 7, padding="same", activation="sigmoid", name=f"{name}_places")(
        layers.Concatenate(name=f"{name}_maps")(maps)
    )
    return layers.Multiply(name=f"{name}_by_place")([x, gate])


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
