"""Whether a file of a model may be loaded, told from its contents, its config and its weights' headers alone.

Keras's safe mode refuses code; this comes before it, without TensorFlow, and refuses in one line what Keras would
explain in twenty, what would fill memory or disk, and what older versions of Keras let pass. What a config may name is
listed here; how much memory its layers would take, `models.load` finds out before it makes them.
"""

import io
import json
import math
import re
import struct
from pathlib import PurePosixPath

from chestrobust.errors import ExpectedError, ModelError, printable
from chestrobust.files import SLACK, open_regular, open_zip

MAX_CONFIG = 1 << 24  # bytes; those of the largest models in keras.applications have about one million
MAX_TEXTS = 1 << 30  # bytes that the texts of one attribute of HDF5 may take; how long they are isn't known before
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
# What layers consist of; files of Keras 2, which name no modules, call models so too.
PARTS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity L1 L1L2 L2 LecunNormal LecunUniform MaxNorm
    MinMaxNorm NonNeg Ones Orthogonal OrthogonalRegularizer RandomNormal RandomUniform TruncatedNormal UnitNorm
    VarianceScaling Zeros
"""
OF_KERAS_2 = {*LAYERS.split(), *PARTS.split(), "DTypePolicy", "Functional", "Model", "Policy", "Sequential"}
# By the module that a config names.
ALLOWED = {
    "keras": {"Functional", "Sequential", "Model", "DTypePolicy", "InputSpec"},
    "keras.layers": set(LAYERS.split()),
    "keras.models": {"Functional", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.engine.functional": {"Functional"},  # Keras 2, which Keras refuses by its version
    "keras.src.engine.sequential": {"Sequential"},
    "keras.dtype_policies": {"DTypePolicy"},
    "keras.initializers": set(PARTS.split()),
    "keras.regularizers": set(PARTS.split()),
    "keras.constraints": set(PARTS.split()),
    "keras_hub.src.models.vit.vit_backbone": {"ViTBackbone"},
    "keras_hub.src.models.dinov2.dinov2_backbone": {"DINOV2Backbone"},
}
OPERATIONS = "keras.src.ops."  # what `keras.ops` leaves in a functional model
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
    numbers = _check_weights(content)
    with h5py.File(io.BytesIO(content), "r") as file:
        config = file.attrs.get("model_config")
    if config is None:
        raise ValueError("weights without a model. Save it whole, by model.save")
    if not isinstance(config, str | bytes) or len(config) > MAX_CONFIG:
        raise ValueError(f"a config that is no text of at most {MAX_CONFIG} bytes")
    _check_config(config, names)
    return numbers


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
        raise ValueError("a config that is nested too deeply") from None
    if not isinstance(config, dict):
        raise ValueError("a config that is no object")
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
    registered = part.get("registered_name")
    if name == "function":
        known = module in ("builtins", "keras.activations") and part.get("config") in FUNCTIONS.split()
        name = part.get("config")
    elif isinstance(registered, str) and ">" in registered and not (_of_keras(registered) or _of_keras(module)):
        known = True  # Keras takes it if the user has registered it, and from nowhere else.
    elif not isinstance(name, str) or (registered and str(registered).rpartition(">")[2] != name):
        known = False  # Keras would rather take what is registered by that name.
    elif module is None:
        known = name in VALUES or name in OF_KERAS_2
    else:
        known = name in ALLOWED.get(str(module), ()) or (str(module).startswith(OPERATIONS) and name[:1].isupper())
    if not known:
        raise ValueError(
            f"{name!r:.60} of {module!r:.60}, which is none of the layers of Keras that a model for images has. "
            "Build the model from those; or register a class of your own with Keras, and name its file by --import"
        )


def _of_keras(name):
    """Whether a module, or a name that is registered, is one of Keras's own packages."""
    return re.split("[.>]", str(name))[0] in ("keras", "keras_cv", "keras_hub", "keras_nlp")


def _check_weights(content):
    """How many numbers HDF5 holds; refused if it leads elsewhere or promises more than it holds."""
    import h5py

    limit = SLACK + MAX_GROWTH * len(content)
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.id.get_create_plist().get_sizes() != (8, 8):
            raise ValueError("HDF5 with addresses that aren't of 8 bytes")
        items, longest = _items(file), _longest_text(content)
        arrays = [item for item in items if isinstance(item, h5py.Dataset)]
        if (promised := sum(array.nbytes for array in arrays)) > limit:
            raise ValueError(f"weights of {promised} bytes in {len(content)}")
        for item in items:
            _check_attributes(item, longest, max(limit, MAX_TEXTS))
            if (named := _named_bytes(item)) > limit:
                raise ValueError(f"weights of {promised} bytes that are named until they are {named}")
        return sum(math.prod(array.shape or ()) for array in arrays)


def _items(file):
    """The groups and arrays of an open HDF5 file, each of which is there once and holds what it is said to."""
    import h5py

    items, seen = [file], set()
    for group in items:
        for name in group if isinstance(group, h5py.Group) else ():
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"weights with a link to elsewhere, {name!r:.100}")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ValueError(f"weights that are there twice, {name!r:.100}")
            seen.add(address)
            if not isinstance(item, h5py.Group) and (item.external or item.is_virtual or item.dtype.hasobject):
                raise ValueError(f"weights that are no numbers in this file, {name!r:.100}")
            items.append(item)
    return items


def _longest_text(content):
    """How long a text of variable length in HDF5 is at most, which it would read forever from a damaged heap of them.

    Reference: HDF5 File Format Specification, III.E, https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
    """
    longest = 0
    for heap in re.finditer(rb"GCOL\x01", content):
        at = heap.start() + 16
        end = heap.start() + int.from_bytes(content[at - 8 : at], "little")
        while at + 16 <= end <= len(content):
            number, size = struct.unpack_from("<H6xQ", content, at)
            step = 16 + -(-size // 8) * 8 if number else size  # of free space, whose number is 0, with its header
            if step < 16:
                break
            at, longest = at + step, max(longest, size if number else 0)
        if not end - 16 < at <= end <= len(content):
            raise ValueError("a heap of texts that is damaged")
    return longest


def _check_attributes(item, longest, limit):
    """Refuse attributes of an HDF5 item that would take more than `limit` bytes when one of them is read."""
    import h5py

    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        variable = attribute.dtype.hasobject  # All of its texts may be one in the file.
        if variable and not h5py.check_string_dtype(attribute.dtype):
            raise ValueError(f"an attribute that is neither text nor numbers, {name!r:.100}")
        size = math.prod(attribute.shape or ()) * (longest if variable else attribute.dtype.itemsize)
        if size > limit:
            raise ValueError(f"an attribute that may be of {size} bytes, {name!r:.100}")


def _named_bytes(group):
    """How many bytes Keras would read at once from a group that names its weights, as those of `.h5` models do."""
    names = [text for name in group.attrs if name.startswith("weight_names") for text in group.attrs[name]]
    return sum(group[text].nbytes for text in names)
