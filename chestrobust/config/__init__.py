"""Every option of the scripts, once: name, default, unit, range and place in the help, which is made from it."""

from chestrobust.config.parsing import OF_ONE_RUN, given, parse, renewed, to_json
from chestrobust.config.shared import (
    CONVOLUTIONAL,
    DATA_DIR,
    DROPOUT,
    FOLDERS,
    HAND_MADE,
    MODELS,
    RESAMPLES,
    SIZE,
    SIZES,
    TRANSFORMERS,
    FoldersConfig,
)
from chestrobust.config.trained import EnsembleConfig, EvaluateConfig, ExplainConfig, SubjectConfig
from chestrobust.config.training import AdversarialConfig, BaselineConfig, TuneConfig, check_model, check_task

__all__ = [
    "CONVOLUTIONAL",
    "DATA_DIR",
    "DROPOUT",
    "FOLDERS",
    "HAND_MADE",
    "MODELS",
    "OF_ONE_RUN",
    "RESAMPLES",
    "SIZE",
    "SIZES",
    "TRANSFORMERS",
    "AdversarialConfig",
    "BaselineConfig",
    "EnsembleConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "FoldersConfig",
    "SubjectConfig",
    "TuneConfig",
    "check_model",
    "check_task",
    "given",
    "parse",
    "renewed",
    "to_json",
]
