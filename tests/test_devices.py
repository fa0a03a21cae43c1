"""Two logical CPU devices and two processes on this machine do what one device does."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

import diagnosis
import diagnosis_adv
import evaluate
from chestrobust import config, devices, losses, models, runs
from chestrobust.errors import ExpectedError
from chestrobust.training import experiment, gradients, loop, methods

ROOT = Path(__file__).resolve().parents[1]
# 28 images in batches of 9: the second replica has fewer images than the first, and the last batch is too small to deal
# out. SGD, because Adam divides gradients that are almost zero by themselves, and so turns rounding into steps.
TRAIN = [
    *("--data", "data.npz", "--data-dir", "cache", "--epochs", "2", "--batch-size", "9", "--method", "online"),
    *("--precision", "float32", "--optimizer", "sgd", "--learning-rate", "0.01", "--dropout", "0"),
    *("--steps", "3", "--train-steps", "2"),
]
EVALUATE = [
    *("--data", "data.npz", "--data-dir", "cache", "--epsilons", "0.03", "--steps", "3", "--resamples", "10"),
    *("--precision", "float32", "--restarts", "2"),
]

# A process that trains both models, then evaluates the single device's. It may have several logical devices, and may
# kill itself in an epoch.
PROGRAM = """
import json, os, signal, sys
import tensorflow as tf
folder, strategy, count, deadly, resume, train, evaluate_too = json.loads(sys.argv[1])
sys.argv[0] = "diagnosis_adv.py"
cpu = tf.config.list_physical_devices("CPU")[0]
if count > 1:
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
tf.config.threading.set_inter_op_parallelism_threads(1)
import diagnosis_adv, evaluate
from chestrobust import startup
from chestrobust.training import loop
epoch = loop._epoch
def watched(step, running, splits, config, state, *rest):
    if state.epoch == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return epoch(step, running, splits, config, state, *rest)
loop._epoch = watched
def main():
    own = ["--strategy", strategy]
    diagnosis_adv.main([*train, *own, "--run", folder, *(["--resume"] if resume else [])])
    if evaluate_too:
        evaluate.main(["subject-" + folder, *evaluate_too, *own, "--name", "rows"])
sys.exit(startup.run_script(main))
"""


def start(folder, run, strategy, *, count=1, deadly=None, resume=False, evaluate_too=(), environment=None):
    arguments = json.dumps([run, strategy, count, deadly, resume, TRAIN, evaluate_too])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, arguments],
        **{"cwd": folder, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **(environment or {})},
    )


def start_workers(folder, run, *, deadly=(None, None), **settings):
    """Two processes that make up a cluster."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    return [
        start(
            *(folder, run, "auto"),
            **{"deadly": deadly[index], **settings},
            environment={"TF_CONFIG": tf_config({"worker": hosts}, index)},
        )
        for index in range(2)
    ]


def tf_config(cluster, index, job="worker"):
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


def finish(process):
    """Exit code, standard output and standard error."""
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with `data.npz`, the `single` run of one device, and its evaluation in `subject-single`."""
    path = tmp_path_factory.mktemp("devices")
    splits = make_splits((28, 21, 21), size=28, num_labels=14)
    arrays = {}
    for part, split in splits.parts.items():
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": split.labels}
    np.savez(path / "data.npz", **arrays)
    with contextlib.chdir(path):
        diagnosis_adv.main([*TRAIN, "--strategy", "none", "--run", "single"])
        for run in ("single", "mirrored", "workers"):
            shutil.copytree("single", f"subject-{run}")
        evaluate.main(["subject-single", *EVALUATE, "--name", "rows"])
    return path


@pytest.fixture(scope="module")
def mirrored(folder):
    """What a process with two devices printed, after training `mirrored` and evaluating `subject-mirrored`."""
    return finish(start(folder, "mirrored", "mirrored", count=2, evaluate_too=EVALUATE))


@pytest.fixture(scope="module")
def workers(folder):
    """What two processes printed, after training `workers` and evaluating `subject-workers`."""
    return [finish(process) for process in start_workers(folder, "workers", evaluate_too=EVALUATE)]


def weights(path):
    return keras.models.load_model(path / "model.keras").get_weights()


def results(path):
    return json.loads((path / "results.json").read_text())


def check_training(folder, run):
    """Both models of a run are those of the single device."""
    for part in (".", "baseline"):
        ours, single = (weights(folder / name / part) for name in (run, "single"))
        for mine, wanted in zip(ours, single, strict=True):
            # Rounding, and now and then a ReLU or a maximum that it tips over. Unsynchronized statistics make it 2e-2.
            np.testing.assert_allclose(mine, wanted, atol=2e-4)
        histories = [
            np.genfromtxt(folder / name / part / "history.csv", delimiter=",", names=True) for name in (run, "single")
        ]
        assert histories[0].dtype == histories[1].dtype
        for column in ("loss", "auc", "binary_accuracy", "val_loss"):
            np.testing.assert_allclose(histories[0][column], histories[1][column], atol=1e-4)


def check_evaluation(folder, run):
    """Every attack's answers are those of the single device."""
    kept = [sorted((folder / f"subject-{name}" / "evaluations" / "rows").iterdir()) for name in (run, "single")]
    assert [path.name for path in kept[0]] == [path.name for path in kept[1]]
    # Clean, FGSM, both PGDs from the image and from a random point, and what was made on the baseline.
    assert len(kept[0]) == 8
    for paths in zip(*kept, strict=True):
        ours, single = (np.load(path) for path in paths)
        np.testing.assert_allclose(ours["logits"], single["logits"], atol=1e-4)
        np.testing.assert_allclose(ours["pixels"], single["pixels"], atol=1e-6)


@pytest.mark.slow
def test_two_devices_train_and_attack_as_one_does(folder, mirrored):
    code, output, errors = mirrored
    assert code == 0, errors
    assert "PGD-3" in output
    check_training(folder, "mirrored")
    check_evaluation(folder, "mirrored")
    hardware = results(folder / "mirrored")["hardware"]
    assert (hardware["strategy"], hardware["replicas"], hardware["workers"]) == ("mirrored", 2, 1)


@pytest.mark.slow
def test_two_workers_train_and_attack_as_one_does(folder, workers):
    for code, _, errors in workers:
        assert code == 0, errors
    check_training(folder, "workers")
    check_evaluation(folder, "workers")
    hardware = results(folder / "workers")["hardware"]
    assert (hardware["strategy"], hardware["replicas"], hardware["workers"]) == ("multiworker", 2, 2)


@pytest.mark.slow
def test_only_the_chief_prints(workers):
    (_, output, _), (_, silence, errors) = workers
    assert "PGD-3" in output
    assert silence == ""
    assert "images/s" not in errors


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_which_resumes(folder, workers):
    chief, worker = (finish(process) for process in start_workers(folder, "killed", deadly=(None, 1)))
    assert worker[0] == -9
    assert chief[0] == 2
    assert "Lost another worker" in chief[2].splitlines()[-1]
    assert "--resume" in chief[2].splitlines()[-1]
    assert not (folder / "killed" / "baseline" / "results.json").exists()
    for code, _, errors in [finish(process) for process in start_workers(folder, "killed", resume=True)]:
        assert code == 0, errors
    for part in (".", "baseline"):
        for ours, whole in zip(weights(folder / "killed" / part), weights(folder / "workers" / part), strict=True):
            np.testing.assert_array_equal(ours, whole)


@pytest.mark.slow
def test_a_run_of_two_devices_resumes_on_one(folder):
    assert finish(start(folder, "moved", "mirrored", count=2, deadly=1))[0] == -9
    with contextlib.chdir(folder):
        diagnosis_adv.main([*TRAIN, "--strategy", "none", "--run", "moved", "--resume"])
    check_training(folder, "moved")


def smooth_model():
    """A classifier without a ReLU or a maximum that rounding could tip over, on the devices that there are."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    with devices.strategy().scope():
        inputs = keras.Input((12, 12, 1))
        x = layers.Conv2D(8, 3, use_bias=False)(inputs)
        x = layers.BatchNormalization(momentum=0.9, synchronized=devices.replicas() > 1)(x)
        x = layers.GlobalAveragePooling2D()(layers.Activation("tanh")(x))
        return keras.Model(inputs, layers.Activation("sigmoid")(layers.Dense(3, name="logits")(x)))


def gradients_at_the_worst_weights(_):
    """Those of all images of a batch of 9 together, and BatchNorm's statistics after it."""
    strategy, model = devices.strategy(), models.logits(smooth_model())
    replicas = devices.replicas()
    rng = np.random.default_rng(0)
    images, labels = rng.random((9, 12, 12, 1), np.float32), np.float32(rng.random((9, 3)) < 0.4)

    def of_replica():
        context = tf.distribute.get_replica_context()
        rows = tf.range(context.replica_id_in_sync_group, 9, replicas)

        def loss():
            logits = model(tf.gather(images, rows), training=True)
            return tf.reduce_sum(losses.mean_binary_cross_entropy(tf.gather(labels, rows), logits)) / 9, logits

        _, _, found = gradients.computed(loss, model.trainable_variables, weight_epsilon=0.05)
        return context.all_reduce("SUM", found)

    found = tf.function(lambda: strategy.run(of_replica))()
    summed = [strategy.experimental_local_results(gradient)[0].numpy() for gradient in found]
    return summed + [weight.numpy() for weight in model.non_trainable_variables]


def weights_of_free_training(path):
    """Averages of the weights after two epochs of three batches, and one of a single image, in a new folder."""
    splits, classifier = make_splits((28, 12, 12), size=12), smooth_model()
    options = config.AdversarialConfig(
        **{"method": "free", "train_steps": 2, "epochs": 2, "batch_size": 9, "ema": 0.5, "train_epsilon": 0.1},
        **{"optimizer": "sgd", "learning_rate": 0.1, "precision": "float32", "clip_norm": 0.3},
    )
    make = methods.examples_of(options, splits, classifier)
    path.mkdir()
    loop.train(classifier, splits, experiment.recipe(options), runs.Run(path), examples=make)
    return models.load(path / "last.keras").get_weights()


ON_TWO_DEVICES = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_devices
test_devices.devices.join("mirrored")
name, folder = sys.argv[1], Path(sys.argv[2])
np.savez(folder / "two.npz", *getattr(test_devices, name)(folder / "two"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("computed", [gradients_at_the_worst_weights, weights_of_free_training])
def test_two_devices_find_the_same_but_for_rounding(tmp_path, computed):
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, computed.__name__, str(tmp_path)],
        **{"capture_output": True, "text": True},
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert done.returncode == 0, done.stderr
    two = np.load(tmp_path / "two.npz")
    for ours, single in zip(two.values(), computed(tmp_path / "one"), strict=True):
        np.testing.assert_allclose(ours, single, rtol=1e-4, atol=1e-5)


def test_a_single_device_and_no_cluster_is_the_default(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    devices.join("auto")
    assert devices.chief()
    assert devices.record() == {"strategy": "none", "replicas": 1, "workers": 1}


def test_bars_are_shown_at_a_terminal_and_in_a_notebook_and_are_the_chiefs(monkeypatch):
    monkeypatch.setattr(devices, "_place", devices.Place())
    assert devices.bars() == {"disable": None}  # tqdm looks whether standard error is a terminal
    monkeypatch.setattr(sys, "stderr", type("OutStream", (), {"__module__": "ipykernel.iostream"})())
    assert devices.bars() == {"disable": False, "position": 0}
    monkeypatch.setattr(devices, "_place", devices.Place("multiworker", 1, 2))
    assert devices.bars() == {"disable": True}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (tf_config({"worker": ["a:1", "b:1"]}, 1), (1, 2)),
        (tf_config({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, 1), (2, 3)),
        (tf_config({"chief": ["a:1"], "worker": ["b:1"]}, 0, "chief"), (0, 2)),
    ],
)
def test_the_chief_is_number_0_and_workers_follow(text, place):
    worker, hosts = devices._worker(text)
    assert (worker, len(hosts)) == place


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        json.dumps({"cluster": {"worker": ["a:1"]}}),
        tf_config({"worker": ["a:1", "b:1"]}, 2),
        tf_config({"worker": ["a:1", "b:1"]}, -1),
        tf_config({"worker": ["a:1", "a:1"]}, 0),
        tf_config({"worker": ["a", "b"]}, 0),
        tf_config({"worker": ["a:1"], "ps": ["b:1"]}, 0),
        tf_config({"worker": ["a:1"]}, 0, "chief"),
    ],
)
@pytest.mark.parametrize("strategy", ["auto", "multiworker"])
def test_a_malformed_cluster_is_refused(monkeypatch, text, strategy):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(devices.DevicesError, match="TF_CONFIG: expected a cluster as in") as error:
        devices.join(strategy)
    assert text in str(error.value)
    assert devices.worker() == (0, 1)


def test_several_workers_without_a_cluster_are_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ExpectedError, match="expected TF_CONFIG"):
        diagnosis.main(["--data", "phantom", "--strategy", "multiworker", "--run", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


TRACED = """
from chestrobust import devices
devices.import_tensorflow()
import tensorflow as tf
for _ in range(20):
    tf.function(lambda image: image + 1)(tf.zeros(1))
"""
KERAS = """
import sys
from chestrobust import devices, startup
def main():
    devices.import_tensorflow()
    import keras
    print(keras.config.backend(), keras.config.image_data_format(), keras.config.epsilon(), keras.layers.ReLU().dtype)
sys.exit(startup.run_script(main))
"""


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (
            '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}',
            *(0, "tensorflow channels_last 1e-07 float32\n"),
        ),
        ('["float32"]', 2, "keras.json: expected settings that Keras takes"),
    ],
)
def test_keras_is_as_it_comes_whatever_its_settings_are_for_others(tmp_path, settings, code, said):
    (tmp_path / "keras.json").write_text(settings)
    own = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", KERAS],
        **{"capture_output": True, "text": True},
        env={**own, "PYTHONPATH": str(ROOT), "KERAS_HOME": str(tmp_path), "TF_USE_LEGACY_KERAS": "1"},
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("\n") == 1


def test_many_models_are_not_taken_for_one_that_is_traced_again_and_again():
    done = subprocess.run(
        [sys.executable, "-c", TRACED],
        **{"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(ROOT)}},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_another_backend_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ExpectedError, match="KERAS_BACKEND: expected tensorflow"):
        diagnosis.main(["--data", "phantom", "--run", str(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == []
