"""The fit of one model on one split: :mod:`spec`, :mod:`data`, :mod:`module`, :mod:`metrics`, :mod:`fit`, :mod:`curves`."""
