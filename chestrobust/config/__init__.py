"""Every option of the scripts, once: name, default, unit, range and place in the help, which is made from it."""

from chestrobust.config.architecture import check_model
from chestrobust.config.groups import ATTACK, DATA, MODEL, picked
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
from chestrobust.config.trained import (
    EnsembleConfig,
    EvaluateConfig,
    ExplainConfig,
    ReportConfig,
    SubjectConfig,
    Views,
)
from chestrobust.config.training import (
    AdversarialConfig,
    BaselineConfig,
    TuneConfig,
    check_brought,
    check_task,
)

# What each script's command line is read into.
SCRIPTS = {
    "diagnosis.py": BaselineConfig,
    "diagnosis_adv.py": AdversarialConfig,
    "evaluate.py": EvaluateConfig,
    "explain.py": ExplainConfig,
    "ensemble.py": EnsembleConfig,
    "report.py": ReportConfig,
    "tune.py": TuneConfig,
}

__all__ = [
    "ATTACK",
    "DATA",
    "DATA_DIR",
    "DROPOUT",
    "FOLDERS",
    "MODEL",
    "OF_ONE_RUN",
    "RESAMPLES",
    "SCRIPTS",
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
    "Views",
    "check_brought",
    "check_model",
    "check_task",
    "given",
    "parse",
    "picked",
    "renewed",
    "to_json",
]
