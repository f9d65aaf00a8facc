"""The cases of ``fixtures/tf1_crnn.npz``, the outputs of the authors' TensorFlow function."""

from convrnn.nn import ConvRNN


def layer_of(case, arrays):
    """The name of the cell of a case, and a new layer that computes what the authors' function does.

    Args:
        case: Name of the case, such as "lstm_bi_same_k3_s2".
        arrays: Its input ``x`` and output ``y``.
    """
    kind, direction, padding, kernel_size, stride = case.split("_")
    rnn_type = {"simple": "rnn"}.get(kind, kind)
    layer = ConvRNN(
        arrays["x"].size(2),
        arrays["y"].size(2),
        int(kernel_size[1:]),
        int(stride[1:]),
        rnn_type=rnn_type,
        sequence="hidden",
        bidirectional=direction == "bi",
        padding=padding,
        peepholes=False,
    )
    return rnn_type, layer
