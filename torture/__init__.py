"""Many kills, damaged inputs, missing resources and large corpora: ``python -m torture --help``."""
