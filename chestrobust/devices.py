"""Where the work is done: on one device, on all of a machine, or on several machines.

`join` settles it from the options and `TF_CONFIG` alone, `start` makes TensorFlow's strategy of it. Every process of a
multi-worker run runs the same script; the chief alone reads and writes the run folder and prints.

A batch is dealt out like cards: image i goes to worker i % workers, and there to the replicas in turn. So every replica
has images of the first and of the second half of the batch, which training attacks differently.
"""

import contextlib
import functools
import json
import os
import pickle
import queue
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chestrobust import commandline, workers
from chestrobust.errors import ExpectedError

EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


class DevicesError(ExpectedError):
    """A strategy or settings of Keras that don't fit the machine or this program, or a worker that is gone."""


@dataclass(frozen=True)
class Place:
    """This process among the workers: `worker` of `workers`, and the `--strategy` that it was started with."""

    strategy: str = "none"
    worker: int = 0
    workers: int = 1


_place = Place()
_meeting, _started = None, False  # the meeting of the workers, until all are ready, and whether they are


def join(name):
    """Take this process's place, and meet the other workers; TensorFlow isn't needed. All but the chief fall silent.

    Args:
        name: A `--strategy`: none, mirrored, multiworker, or auto, which is multiworker if `TF_CONFIG` names several
            workers, else mirrored if there are several GPUs.

    Raises:
        DevicesError: If `TF_CONFIG` is needed and missing, or not as TensorFlow wants it, or `KERAS_BACKEND` asks for
            another than TensorFlow.
        WorkersError: If the other workers don't come.
    """
    global _place, _meeting
    _check_backend()
    text = os.environ.get("TF_CONFIG", "").strip() if name in ("auto", "multiworker") else ""
    if not text and name == "multiworker":
        raise DevicesError(f"--strategy multiworker: expected TF_CONFIG in the environment, as in {EXAMPLE}.")
    worker, hosts = _worker(text) if text else (0, [""])
    _place = Place("multiworker" if name == "auto" and len(hosts) > 1 else name, worker, len(hosts))
    _meeting = workers.Meeting(hosts, worker) if len(hosts) > 1 and not _started else None
    if not chief():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _worker(text):
    """Number of this process among the workers, and the addresses of all; the chief is number 0."""
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        jobs = {job: list(cluster.get(job, ())) for job in ("chief", "worker")}
        hosts = jobs["chief"] + jobs["worker"]
        own = range(len(jobs[task["type"]]))[int(task["index"])]
        known = set(cluster) <= set(jobs) and len(jobs["chief"]) <= 1 and own == int(task["index"])
        if not known or len(set(hosts)) < len(hosts) or not all(host.rpartition(":")[2].isdigit() for host in hosts):
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        raise DevicesError(f"TF_CONFIG: expected a cluster as in {EXAMPLE}. Received: {text:.200}.") from None
    return own + (len(jobs["chief"]) if task["type"] == "worker" else 0), hosts


def chief():
    """Whether this process reads and writes the run folder."""
    return _place.worker == 0


def bars():
    """How tqdm shows a bar: bars are the chief's, and none goes into a file; in a notebook all share one line."""
    if chief() and type(sys.stderr).__module__ == "ipykernel.iostream":
        return {"disable": False, "position": 0}  # a notebook doesn't move up to the bar above
    return {"disable": None if chief() else True}


def worker():
    """Number of this process, and how many there are."""
    return _place.worker, _place.workers


def start(**task):
    """Load TensorFlow and make the strategy, before anything else uses TensorFlow; waits for the other workers.

    Args:
        task: What all workers must be about to do, by name, as JSON has it.

    Raises:
        WorkersError: If another worker has ended, or is about to do something else.
    """
    global _meeting, _started
    commandline.under_way("Starting TensorFlow")
    import_tensorflow()
    if _meeting:
        _meeting.agree(task)
        _meeting, _started = None, True
    strategy()
    commandline.under_way(f"Devices: {len(_names('GPU'))} GPU, {os.cpu_count()} processor cores")


def import_tensorflow():
    """Import TensorFlow without its start-up lines, and Keras as it comes, whatever `keras.json` says for others.

    TensorFlow's C++ side writes some lines before any log level holds, so standard error is held back meanwhile, and
    shown only if the import fails.

    Raises:
        DevicesError: If `KERAS_BACKEND` asks for another backend, or Keras can't use its `keras.json`.
    """
    if "tensorflow" in sys.modules:
        return  # Whoever imported it has set it up.
    _check_backend()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # It counts more than the backend in keras.json.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        sys.stderr.flush()
        terminal = os.dup(2)
        stack.callback(os.close, terminal)
        os.dup2(held.fileno(), 2)
        try:
            _import_keras()
            import tensorflow

            # Many models are taken for one that is traced again; looking for GPUs logs whether or not there are any.
            tensorflow.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())
            if not tensorflow.config.list_physical_devices("GPU"):
                # One operation at a time: each already uses all cores, and side by side they only need more memory.
                tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        except ExpectedError:
            raise
        except BaseException:
            os.dup2(terminal, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(terminal, 2)


def _check_backend():
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise DevicesError(f"KERAS_BACKEND: expected tensorflow. Received: {backend}. Unset it for this program.")


def _import_keras():
    try:
        import keras
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        settings = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser()
        if not settings.exists():
            raise
        received = f"{type(error).__name__} {error}".strip()
        raise DevicesError(
            f"{settings}: expected settings that Keras takes. Received: {received}. Correct or remove the file."
        ) from None
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)


@functools.cache
def strategy():
    """The `tf.distribute` strategy; TensorFlow's default one unless `join` has settled on another."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if _place.strategy == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if _place.strategy == "mirrored" or (_place.strategy == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(_names("GPU" if gpus else "CPU"))
    return tf.distribute.get_strategy()


def _names(kind):
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices(kind)]


def replicas():
    """Number of replicas on all workers together."""
    return strategy().num_replicas_in_sync


def record():
    """What `results.json` holds of it."""
    import tensorflow as tf

    names = {tf.distribute.MirroredStrategy: "mirrored", tf.distribute.MultiWorkerMirroredStrategy: "multiworker"}
    return {"strategy": names.get(type(strategy()), "none"), "replicas": replicas(), "workers": _place.workers}


def copies(count):
    """How many replicas work on each image of a batch of `count`: one, or all of them if there are too few to deal out.

    Each needs two, one in each half of the batch, as oneDNN's convolution returns a wrong shape for no image at all.
    """
    import tensorflow as tf

    return tf.where(count < 2 * replicas(), replicas(), 1)


def part(batch):
    """What this worker has of a batch of images."""
    return batch if len(batch) < 2 * replicas() else batch[_place.worker :: _place.workers]


def deal(count, *arrays):
    """Inside `strategy().run`: this replica's rows of what the worker has of a batch, and their positions in the batch.

    Args:
        count: Number of images in the batch, a tensor.
        arrays: Tensors with a row per image that the worker has.
    """
    import tensorflow as tf

    local = replicas() // _place.workers
    number = tf.distribute.get_replica_context().replica_id_in_sync_group - _place.worker * local
    dealt = copies(count) == 1
    rows = tf.range(tf.where(dealt, number, 0), tf.shape(arrays[0])[0], tf.where(dealt, local, 1))
    first, step = tf.where(dealt, _place.worker + _place.workers * number, 0), tf.where(dealt, replicas(), 1)
    return *(tf.gather(array, rows) for array in arrays), tf.range(first, count, step)


def total(array):
    """The sum over all workers of a float32 array, which has the same shape on each."""
    return array if _place.workers == 1 else _total()(array).numpy()


@functools.cache
def _total():
    import tensorflow as tf

    def share(array):
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group % (replicas() // _place.workers) == 0
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, array, 0))

    @tf.function(reduce_retracing=True)
    def total(array):
        return strategy().experimental_local_results(strategy().run(share, args=(array,)))[0]

    return total


def from_chief(function):
    """What `function()` returns on the chief, on every worker; the others don't call it, and wait."""
    import numpy as np

    if _place.workers == 1:
        return function()
    answer = pickle.dumps(function()) if chief() else b""
    # As floats, which hold every byte exactly, because every way to communicate takes them.
    size = int(total(np.float32([len(answer) % 2**20, len(answer) // 2**20])) @ [1, 2**20])
    content = np.frombuffer(answer.ljust(size, b"\0"), np.uint8).astype(np.float32)
    return pickle.loads(total(content).astype(np.uint8).tobytes())


def load(path, like):
    """A saved classifier, on every worker; the chief reads the file, the others have the architecture from `like`."""
    import keras

    classifier = keras.models.load_model(path) if chief() else keras.models.clone_model(like)
    classifier.set_weights(from_chief(classifier.get_weights))
    return classifier


def wait():
    """Wait until every worker has come this far."""
    from_chief(bool)


def spread(function, pieces, *models):
    """Call `function(piece, *models)` for every piece, side by side on this worker's devices.

    Args:
        function: Function that may be called in several threads at once, each with a device of its own.
        pieces: What to call it with.
        models: Callables; a `keras.Model` is copied to each device.
    """
    import tensorflow as tf

    if replicas() == 1:
        for piece in pieces:
            function(piece, *models)
        return
    free = queue.SimpleQueue()
    for device in strategy().extended.worker_devices:
        with tf.device(device):
            free.put((device, [_copy(model, device) for model in models]))

    def call(piece):
        device, copies = free.get()
        try:
            with tf.device(device):
                function(piece, *copies)
        finally:
            free.put((device, copies))

    with ThreadPoolExecutor(free.qsize()) as threads:
        list(threads.map(call, pieces))


def _copy(model, device):
    import keras

    if not isinstance(model, keras.Model):
        return model
    copy = _clone(model, device)
    copy.set_weights(model.get_weights())
    return copy


# Kept, because attacks are compiled per model.
@functools.lru_cache(maxsize=32)
def _clone(model, device):
    import keras

    del device
    return keras.models.clone_model(model)


def is_lost_worker(error):
    """Whether an exception is how TensorFlow tells that another worker is gone."""
    if _place.workers == 1 or "tensorflow" not in sys.modules:
        return False
    import tensorflow as tf

    return isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError))
