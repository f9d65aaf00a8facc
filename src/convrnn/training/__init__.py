"""The fit of one model on one split.

:mod:`spec` says what a run is, :mod:`fit` does it, :mod:`result` holds what came out, :mod:`predict` and
:mod:`evaluate` apply a trained model to other data, :mod:`timing` estimates how long a run takes.

Inside a fit: :mod:`loop` has the paper's rules, :mod:`learner` the steps that it takes, :mod:`data` the batches,
:mod:`metrics` and :mod:`epochs` what is measured, :mod:`checkpoint` and :mod:`run_directory` what is kept,
:mod:`environment` the process, :mod:`curves` the picture.
"""
