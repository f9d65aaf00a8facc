"""The fit of one model on one split.

:mod:`spec` says what a run is, :mod:`fit` does it, :mod:`result` holds what came out, :mod:`evaluate` uses a trained
model on other data. Inside: :mod:`data`, :mod:`module`, :mod:`selection`, :mod:`metrics`, :mod:`run_directory`,
:mod:`environment`, :mod:`curves`.
"""
