"""Backbones of keras.applications and keras-hub, each with what it needs around it: a model of images in [0, 1].

Inside the model: resizing, gray to RGB, the backbone's own normalization, the backbone as a layer `backbone`, pooling
and the head. All of them are built-in layers; only the transformers need keras-hub to be loaded again.
"""

import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers

from chestrobust.catalogue import MODELS, resolve
from chestrobust.config import DROPOUT
from chestrobust.errors import ModelError
from chestrobust.models import blocks, graph, loading
from chestrobust.runs import modelfile

# As (scale, offset) of pixels in [0, 1]; the three numbers are of red, green and blue.
BY_IMAGENET = ([1 / 0.229, 1 / 0.224, 1 / 0.225], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
AROUND_ZERO = (2.0, -1.0)
BYTES = (255.0, 0.0)  # EfficientNet normalizes them itself.
CAFFE = (255.0, [-103.939, -116.779, -123.68])  # blue, green and red


def build(
    name,
    input_shape,
    num_labels,
    *,
    dropout=DROPOUT,
    activation="sigmoid",
    attention="none",
    weights="none",
    freeze=False,
    size=None,
):
    """A classifier on a backbone.

    Args:
        name: A key of `catalogue.MODELS` whose model isn't hand-made.
        input_shape: `(height, width, channels)` of the images; one channel or three, of any size.
        num_labels, activation: As in `models.build_cnn`.
        dropout: Share of features dropped before the logits.
        attention: What follows the last feature map of a convolutional backbone; see `blocks.attended`.
        weights: `"none"`, `"imagenet"`, or a path to a `.keras` or `.h5` file of the same backbone.
        freeze: Whether the backbone keeps its weights and its BatchNorm runs in inference mode.
        size: Pixels along a side that the backbone sees; default: the images' height, at least 32, or 224 for
            transformers.

    Returns:
        A functional `keras.Model` as `models.build_cnn` returns it, with a layer `backbone`.

    Raises:
        ModelError: If the weights can't be had or are another backbone's.
    """
    row = MODELS[name]
    scale, offset = normalization = resolve(row.normalization)
    size = size or (224 if row.patch else max(32, input_shape[0]))
    inputs = x = layers.Input(input_shape, name="images")
    if tuple(input_shape[:2]) != (size, size):
        # Keras's layer is in training mode unless told otherwise, and all that follow it would be too.
        x = layers.Resizing(size, size, name="resize")(x, training=False)
    if input_shape[-1] == 1:
        x = layers.Concatenate(name="gray_to_rgb")([x, x, x])
    elif normalization is CAFFE:
        x = keras.ops.flip(x, axis=-1)
    x = layers.Rescaling(scale, offset, name="normalize")(x)
    backbone = _backbone(name, size, weights)
    backbone.trainable = not freeze
    x = backbone({"images": x} if isinstance(backbone.input, dict) else x)
    if row.patch:
        x = layers.Flatten(name="class_token")(layers.Cropping1D((0, x.shape[1] - 1), name="first_token")(x))
    else:
        x = blocks.attended(x, attention, name="attention")
        x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return blocks.ending(inputs, x, num_labels, activation, name=name)


def _backbone(name, size, weights):
    """The backbone alone, as a functional model from normalized RGB images to features."""
    row = MODELS[name]
    make = resolve(row.builder)
    if weights == "imagenet":
        try:
            original = make(row, size, pretrained=True)
        except ModelError:
            raise
        except ImportError as error:
            raise _without_hub(error) from None
        except Exception as error:  # Each of the libraries' hosts fails in its own way, Keras with a bare Exception.
            raise ModelError(
                f"--weights imagenet: expected to download the weights of {name}. Received: {_reason(error)}. "
                "Use --weights FILE with weights that you have, or --weights none."
            ) from None
    else:
        original = make(row, size, pretrained=False)
    # Without keras-hub's class around it, a saved model needs nothing but the layers; transformers can't do without.
    backbone = original if row.patch else keras.Model(original.inputs, original.outputs[0], name="backbone")
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # 0.999 in MobileNetV2; `models.build_cnn` says why that is too slow here.
    if weights not in ("none", "imagenet"):
        _load(backbone, Path(weights).expanduser(), name)
    return backbone


def _load(backbone, path, name):
    """Set the weights of a backbone from a file of its own kind."""
    wrong = f"{path}: expected weights of {name}, in a .keras or .h5 file."
    if path.suffix == ".h5":
        modelfile.check_weights(path)
        # Keras only warns of some of the weights that it doesn't find in a file, so look for those that were not set.
        for variable in backbone.variables:
            if variable.dtype == "float32":
                variable.assign(np.full(variable.shape, np.nan))
        try:
            with warnings.catch_warnings(action="ignore"):
                backbone.load_weights(path)
        except Exception as error:  # Whatever its reader meets: OSError, ValueError, KeyError ...
            raise ModelError(f"{wrong} Received: {_reason(error)}") from None
        if any(np.isnan(weight).any() for weight in backbone.get_weights()):
            raise ModelError(f"{wrong} Received a part of them, or not-a-number among them.")
        return
    saved = loading.load(path)
    # In a model with metadata it is a level deeper.
    saved = next((layer for layer in graph.layers(saved) if layer.name == "backbone"), saved)
    wanted, received = ([(w.name, tuple(w.shape)) for w in model.weights] for model in (backbone, saved))
    if wanted != received:
        raise ModelError(f"{wrong} Received another model, {saved.name}.")
    backbone.set_weights(saved.get_weights())


def _reason(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def application(row, size, *, pretrained):
    """A backbone of `keras.applications`; as for all that follow, the row is one of `catalogue.MODELS`."""
    make = getattr(keras.applications, row.published)
    return make(input_shape=(size, size, 3), include_top=False, weights="imagenet" if pretrained else None)


def resnet(row, size, *, pretrained):
    """keras-hub's ResNet of basic blocks."""
    hub, shape = _keras_hub(), (size, size, 3)
    if pretrained:
        return hub.models.ResNetBackbone.from_preset(row.published, image_shape=shape)
    return hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=shape,
        **row.settings,
    )


def vit(row, size, *, pretrained):
    """keras-hub's ViT of the base size."""
    hub = _keras_hub()
    if pretrained:
        return hub.models.ViTBackbone.from_preset(row.published, name="backbone")
    return hub.models.ViTBackbone(
        image_shape=(size, size, 3),
        patch_size=row.patch,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
        name="backbone",
    )


def dinov2(row, size, *, pretrained):
    """keras-hub's DINOv2 of the small size."""
    hub, shape = _keras_hub(), (size, size, 3)
    # Keras-hub keeps place embeddings for 518 px and resizes them at every saving, which changes them a little each
    # time. Embeddings for the size in use are saved as they are.
    backbone = hub.models.DINOV2Backbone(
        patch_size=row.patch,
        num_layers=12,
        hidden_dim=384,
        num_heads=6,
        intermediate_dim=1536,
        image_shape=shape,
        position_embedding_shape=shape,
        name="backbone",
    )
    if pretrained:
        published = hub.models.DINOV2Backbone.from_preset(row.published, image_shape=shape)
        resized = published.embeddings.interpolated_position_embeddings
        for ours, theirs in zip(backbone.weights, published.weights, strict=True):
            ours.assign(theirs if ours.shape == theirs.shape else resized)
    return backbone


def _keras_hub():
    try:
        import keras_hub
    except ImportError as error:
        raise _without_hub(error) from None
    return keras_hub


def _without_hub(error):
    return ModelError(
        f"--model: expected keras-hub and safetensors, which this model needs. Received: {_reason(error)}. "
        "Install them by: pip install keras-hub safetensors"
    )
