"""Experiments: the commands ``compare``, ``reproduce``, ``train`` and ``evaluate`` as functions.

- :func:`compare` trains several models on a corpus under one protocol and returns a :class:`Comparison`.
- :func:`reproduce` repeats tables of the paper and returns :class:`Results`; :func:`plan_reproduction` and
  :func:`estimate` say in advance what it will do and how long that will take.
- :func:`train` trains one model and returns a :class:`TrainedModel`.
- :func:`evaluate` tests a saved model and returns a :class:`TestedModel`.
- :class:`Progress` receives their progress.

Inside, :mod:`rows` and :mod:`prepare` prepare a corpus, :mod:`grid` plans and executes runs, :mod:`work` does one of
them in a process or on a node of a cluster, :mod:`outcomes` and :mod:`results` turn their predictions into a table with
intervals and tests, :mod:`report` writes its pages, and the modules ``…_record`` record what a folder of results
contains. :mod:`svm_baseline` and :mod:`probe` are linear baselines for the networks.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convrnn.experiments.comparison import Comparison, compare
    from convrnn.experiments.estimating import Estimate, estimate
    from convrnn.experiments.evaluation import TestedModel, evaluate
    from convrnn.experiments.progress import Progress
    from convrnn.experiments.reproduction import ReproductionPlan, plan_reproduction, reproduce
    from convrnn.experiments.results import Results
    from convrnn.experiments.single import TrainedModel, train

__all__ = [
    "Comparison",
    "Estimate",
    "Progress",
    "ReproductionPlan",
    "Results",
    "TestedModel",
    "TrainedModel",
    "compare",
    "estimate",
    "evaluate",
    "plan_reproduction",
    "reproduce",
    "train",
]

_MODULES = {
    "comparison": ("Comparison", "compare"),
    "estimating": ("Estimate", "estimate"),
    "evaluation": ("TestedModel", "evaluate"),
    "progress": ("Progress",),
    "reproduction": ("ReproductionPlan", "plan_reproduction", "reproduce"),
    "results": ("Results",),
    "single": ("TrainedModel", "train"),
}


def __getattr__(name: str) -> object:
    # A command that only shows its help should not wait for PyTorch.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"convrnn.experiments.{module}"), name)
    raise AttributeError(f"module 'convrnn.experiments' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
