"""Outcomes kept on disk attack by attack, so that an interrupted evaluation goes on, and never under other code.

An outcome is found again only by the same attack, model and data, computed by the same source code and packages.
"""

import functools
import hashlib
import inspect
import json
from pathlib import Path

import numpy as np

from chestrobust import files
from chestrobust.errors import RunError
from chestrobust.evaluation.outcomes import Outcome
from chestrobust.models import graph
from chestrobust.runs import arrays, provenance

PACKAGE = Path(__file__).resolve().parents[1]
# What computes an outcome: images, models, losses, attacks, and how they are put together.
COMPUTING = (
    "losses.py",
    "tasks.py",
    "catalogue.py",
    "devices.py",
    "data",
    "models",
    "attacks",
    "evaluation/outcomes.py",
)


@functools.cache
def code():
    """Digest of the source code that computes outcomes, in hex, whatever git knows of it."""
    digest = hashlib.sha256()
    for name in COMPUTING:
        path = PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            content = file.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{file.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def identity(path, model, input_range):
    """What tells a saved model, as it was understood, from all others; what can be written as JSON.

    Args:
        path: Its file.
        model: What was made of it, a `keras.Model`.
        input_range: The words of `--input-range`, empty if they were left out.
    """
    # What a class or an activation of the user's own computes isn't in the file: `--import` brings it, maybe changed.
    calls = [call for one in graph.operations(model) for call in (type(one).call, getattr(one, "activation", None))]
    codes = [getattr(inspect.unwrap(call), "__code__", None) for call in calls if call is not None]
    files = {Path(code.co_filename) for code in codes if code is not None}
    digests = sorted(provenance.sha256(file) for file in files if file.is_file())
    return [provenance.sha256(path), list(input_range), digests]


class Cache:
    """Outcomes in a folder.

    Args:
        folder: `pathlib.Path` of a folder that this process has locked, or of one inside it; made when it is needed.
    """

    def __init__(self, folder):
        self.folder = folder

    def _place(self, made_by):
        """The file of an outcome, and the whole text that its name is the digest of."""
        identity = json.dumps([made_by, code(), provenance.versions()])
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz", identity

    def find(self, made_by, shape):
        """The `Outcome`, or None if there is none, it is damaged, or other code or packages have computed it.

        Args:
            made_by: What can be written as JSON and tells the attack, the model and the images.
            shape: Shape of its logits.
        """
        file, identity = self._place(made_by)
        try:
            saved = arrays.load(file)
            if str(saved["identity"]) != identity or saved["logits"].shape != shape:
                return None
            kept = {}
            if "kept" in saved:
                kept = {"kept": saved["kept"].astype(np.float32), "levels": int(saved["levels"])}
            return Outcome(saved["logits"].astype(np.float32), *map(float, saved["pixels"]), **kept)
        except (OSError, RunError, KeyError, TypeError, ValueError):
            return None  # It is computed again.

    def keep(self, made_by, outcome):
        """Write an `Outcome`.

        Raises:
            RunError: If it can't be written.
        """
        file, identity = self._place(made_by)
        with files.explained(self.folder):
            files.make_folder(self.folder)
        with files.writing(file) as temporary:
            pixels = [outcome.largest, outcome.low, outcome.high]
            kept = {} if outcome.kept is None else {"kept": outcome.kept, "levels": outcome.levels}
            np.savez(temporary, logits=outcome.logits, pixels=pixels, identity=identity, **kept)
