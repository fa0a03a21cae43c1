"""Every option of the scripts, once: name, default, unit, range and place in the help, which is made from it."""

from chestrobust.config.parsing import OF_ONE_RUN, given, parse, renewed, to_json
from chestrobust.config.shared import (
    DATA_DIR,
    DROPOUT,
    FOLDERS,
    RESAMPLES,
    SIZE,
    SIZES,
    FoldersConfig,
)
from chestrobust.config.trained import EnsembleConfig, EvaluateConfig, ExplainConfig, ReportConfig, SubjectConfig
from chestrobust.config.training import (
    AdversarialConfig,
    BaselineConfig,
    TuneConfig,
    check_brought,
    check_model,
    check_task,
)

__all__ = [
    "DATA_DIR",
    "DROPOUT",
    "FOLDERS",
    "OF_ONE_RUN",
    "RESAMPLES",
    "SIZE",
    "SIZES",
    "AdversarialConfig",
    "BaselineConfig",
    "EnsembleConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "FoldersConfig",
    "ReportConfig",
    "SubjectConfig",
    "TuneConfig",
    "check_brought",
    "check_model",
    "check_task",
    "given",
    "parse",
    "renewed",
    "to_json",
]
