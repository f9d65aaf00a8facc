"""A small speech recogniser: a front end of convrnn's layers, bidirectional LSTMs, CTC over characters."""
