"""Whether a file of a model may be loaded, told from its contents, its config and its weights' headers alone.

Keras's safe mode refuses code; this comes before it, without TensorFlow, and refuses in one line what Keras would
explain in twenty, what would fill memory or disk, and what older versions of Keras let pass. What a config may name is
listed here; how much memory its layers would take, `models.load` finds out before it makes them.
"""

import io
import json
from pathlib import PurePosixPath

from chestrobust.errors import ExpectedError, ModelError, printable
from chestrobust.files import SLACK, open_regular, open_zip

MAX_CONFIG = 1 << 24  # bytes; those of the largest models in keras.applications have about one million
MAX_GROWTH = 10  # members together, or the weights, to what is stored of them; Keras itself doesn't compress
# Layers that images can go through and that are nothing but numbers: no code, no text, no files of their own.
LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D BatchNormalization Bidirectional CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose ConvLSTM2D Cropping1D Cropping2D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU
    EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D GroupNormalization GroupQueryAttention Identity
    InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D Maximum Minimum
    MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN RandomBrightness RandomContrast
    RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D
    SpectralNormalization StackedRNNCells Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D
    ZeroPadding1D ZeroPadding2D
"""
# By the module that a config names; None stands for any name of it.
ALLOWED = {
    "keras": {"Functional", "Sequential", "Model", "DTypePolicy", "InputSpec"},
    "keras.layers": set(LAYERS.split()),
    "keras.models": {"Functional", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.engine.functional": {"Functional"},  # Keras 2, which Keras refuses by its version
    "keras.src.engine.sequential": {"Sequential"},
    "keras.dtype_policies": {"DTypePolicy"},
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras_hub.src.models.vit.vit_backbone": {"ViTBackbone"},
    "keras_hub.src.models.dinov2.dinov2_backbone": {"DINOV2Backbone"},
}
OPERATIONS = "keras.src.ops."  # what `keras.ops` leaves in a functional model
# What files of Keras 2, which name no modules, call models and what layers consist of.
PARTS = """
    Constant DTypePolicy Functional GlorotNormal GlorotUniform HeNormal HeUniform Identity L1 L1L2 L2 LecunNormal
    LecunUniform MaxNorm Model NonNeg Ones Orthogonal Policy RandomNormal RandomUniform Sequential TruncatedNormal
    UnitNorm VarianceScaling Zeros
"""
VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__tuple__", "__slice__", "__ellipsis__"}
FUNCTIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
    squareplus swish tanh tanh_shrink threshold
"""
MEMBERS = ("config.json", "metadata.json", "model.weights.h5")


def check(path, names=()):
    """Refuse a `.keras` or `.h5` file that is damaged, has code in it, or would write or read anything but itself.

    Args:
        path: The file.
        names: Classes of the caller's own that it may name; those that are registered with Keras may be in it anyway.

    Returns:
        How many numbers its weights have.

    Raises:
        ModelError: If so.
        DataError: If it is no regular file.
    """
    try:
        if path.suffix.lower() == ".h5":
            return _check_h5(path, names)
        with open_zip(path, "a .keras file") as archive:
            _check_members(archive)
            _check_config(archive.read("config.json"), names)
            return _check_weights(archive.read("model.weights.h5"))
    except ExpectedError:
        raise
    except Exception as error:  # What zipfile, json and h5py raise at damaged files is of many kinds.
        raise _refusal(path, "a model as Keras saves it", error) from None


def check_weights(path):
    """Refuse an `.h5` file of weights that is damaged, leads elsewhere, or promises more than it holds.

    Raises:
        ModelError: If so.
        DataError: If it is no regular file.
    """
    try:
        with open_regular(path, "a file of weights") as file:
            _check_weights(file.read())
    except ExpectedError:
        raise
    except Exception as error:
        raise _refusal(path, "weights as Keras saves them", error) from None


def config(path):
    """The config in a `.keras` file that has been checked, without what only training needs."""
    with open_zip(path, "a .keras file") as archive:
        content = json.loads(archive.read("config.json"))
    content.pop("compile_config", None)
    return content


def _refusal(path, expected, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return ModelError(f"{path}: expected {expected}. Received: {printable(reason):.300}.")


def keras_version(path):
    """The version of Keras that a file says it was saved by, or None."""
    import h5py

    try:
        if path.suffix.lower() == ".h5":
            with h5py.File(path, "r") as file:
                return str(file.attrs["keras_version"])
        with open_zip(path, "a .keras file") as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (ExpectedError, OSError, KeyError, TypeError, ValueError):
        return None


def _check_h5(path, names):
    import h5py

    with open_regular(path, "an .h5 file") as file:
        content = file.read()
    with h5py.File(io.BytesIO(content), "r") as file:
        config = file.attrs.get("model_config")
    if config is None:
        raise ValueError("weights without a model. Save it whole, by model.save")
    _check_config(config, names)
    return _check_weights(content)


def _check_members(archive):
    names = archive.namelist()
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(f"the member {name!r:.100}, which leads out of it")
    missing = [name for name in MEMBERS if name not in names]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in it")
    total, stored = sum(info.file_size for info in archive.infolist()), archive.fp.seek(0, io.SEEK_END)
    if total > SLACK + MAX_GROWTH * stored:
        raise ValueError(f"{stored} bytes that unpack to {total}")
    if archive.getinfo("config.json").file_size > MAX_CONFIG:
        raise ValueError(f"a config.json of more than {MAX_CONFIG} bytes")


def _check_config(text, names):
    try:
        config = json.loads(text)
    except RecursionError:
        raise ValueError("a config.json that is nested too deeply") from None
    if not isinstance(config, dict):
        raise ValueError("a config.json that is no object")
    # How it was trained is never loaded.
    parts = [{key: part for key, part in config.items() if key != "compile_config"}]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if "class_name" in part and part["class_name"] not in names:
                _check_class(part)
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)


def _check_class(part):
    """Refuse what is neither a layer of the list nor a part of one."""
    name, module = part["class_name"], part.get("module")
    if name in ("Lambda", "__lambda__"):
        raise ValueError(
            "a Lambda layer, which is Python code that could do anything. "
            "Build the model from Keras's own layers, and save it again"
        )
    if name == "function":
        known = module in ("builtins", "keras.activations") and part.get("config") in FUNCTIONS.split()
        name = part.get("config")
    elif isinstance(part.get("registered_name"), str) and ">" in part["registered_name"]:
        known = True  # Keras takes it if the user has registered it, and from nowhere else.
    elif module is None:
        known = name in VALUES or name in (*LAYERS.split(), *PARTS.split())
    elif isinstance(module, str) and isinstance(name, str):
        names = ALLOWED.get(module, ())
        known = names is None or name in names or (module.startswith(OPERATIONS) and name.isidentifier())
    else:
        known = False
    if not known:
        raise ValueError(
            f"{name!r:.60} of {module!r:.60}, which is none of the layers of Keras that a model for images has. "
            "Build the model from those; or register a class of your own with Keras, and name its file by --import"
        )


def _check_weights(content):
    """How many numbers HDF5 holds; refused if it leads elsewhere or promises more than it holds."""
    import h5py

    promised, numbers, seen = 0, 0, set()
    with h5py.File(io.BytesIO(content), "r") as file:
        groups = [file]
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"weights with a link to elsewhere, {name!r:.100}")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    raise ValueError(f"weights that are there twice, {name!r:.100}")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                    continue
                if item.external or item.is_virtual or item.dtype.hasobject:
                    raise ValueError(f"weights that are no numbers in this file, {name!r:.100}")
                promised += item.nbytes
                numbers += item.size
    if promised > SLACK + MAX_GROWTH * len(content):
        raise ValueError(f"weights of {promised} bytes in {len(content)}")
    return numbers
