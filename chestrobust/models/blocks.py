"""Pieces that several networks are made of."""

import keras
from keras import layers


def ending(inputs, features, num_labels, activation, name):
    """The model from `inputs` to probabilities, with the layer `logits` before them."""
    x = layers.Dense(num_labels, name="logits")(features)
    return keras.Model(inputs, layers.Activation(activation, name="probabilities")(x), name=name)


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


def residual(x, filters, *, strides, momentum, name):
    """Feature maps plus what two 3x3 convolutions make of them, each after BatchNorm and ReLU.

    Args:
        x: Feature maps, `(batch, height, width, channels)`.
        filters: Channels of the result.
        strides: Of the first convolution; where it isn't 1 or channels differ, a 1x1 convolution brings `x` along.
        momentum: Of BatchNorm's moving averages.
        name: What the layers' names start with.
    """
    shortcut = x
    for part in "ab":
        x = layers.BatchNormalization(momentum=momentum, name=f"{name}_norm_{part}")(x)
        x = layers.ReLU(name=f"{name}_relu_{part}")(x)
        if part == "a" and (strides > 1 or x.shape[-1] != filters):
            shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False, name=f"{name}_shortcut")(x)
        x = layers.Conv2D(
            *(filters, 3),
            strides=strides if part == "a" else 1,
            padding="same",
            use_bias=False,
            name=f"{name}_conv_{part}",
        )(x)
    return layers.Add(name=f"{name}_sum")([x, shortcut])
