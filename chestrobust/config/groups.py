"""Options that belong together: what is handed on of a script's options to those who don't need all."""

DATA = ("data", "root", "size", "labels", "data_dir", "limit", "train_subset", "val_subset", "metadata")
ATTACK = ("epsilon", "step_size", "steps", "restarts", "seed", "precision")  # of a training script's evaluation
MODEL = ("model", "attention", "backbone_size")  # which decide whether weights fit


def picked(options, names):
    """The options of these names, as a dictionary."""
    return {name: getattr(options, name) for name in names}
