"""Training of one model on one split.

:mod:`spec` describes a run, :mod:`fit` executes it, and :mod:`result` holds its result. :mod:`predict` and
:mod:`evaluate` apply a trained model to other data. :mod:`timing` estimates how long a run takes.

:mod:`fit` is built from :mod:`loop` (the paper's rules), :mod:`learner` (a training step), :mod:`data` (batches),
:mod:`metrics` and :mod:`epochs` (measurements), :mod:`checkpoint` and :mod:`run_directory` (files), :mod:`environment`
(settings of the process) and :mod:`curves` (a plot).
"""
