"""The presets are the models of sections IV-A and IV-B."""

import pytest
import torch

from convrnn.errors import InputError
from convrnn.models import FRONT_ENDS, SETTINGS, SequenceClassifier, SequenceClassifierConfig, preset
from convrnn.nn.cells import CELLS

TABLE_IV = [f"clstm-{sequence}-{reduce}" for sequence in ("hidden", "cell") for reduce in ("mean", "max", "last")]


def lstm(n, h):
    """Parameters of four gates, each with n + h weights and a bias for h units, peepholes and initial states."""
    return 4 * h * (n + h + 1) + 3 * h + 2 * h


def front_end(name, n):
    """Parameters of one layer of 100 features on windows of five frames with n values."""
    if name == "baseline":
        return 0
    if name == "conv":
        return 100 * (5 * n + 1)
    if name == "crnn":
        return 100 * (n + 100 + 1) + 100
    if name == "cgru":
        return 3 * 100 * (n + 100 + 1) + 100
    if name == "extended-clstm":
        return lstm(n, 100) + 4 * (4 * 100 * n)
    if name == "cblstm":
        return 2 * lstm(n, 100) + 2 * 100 * 100 + 100
    if name == "clstm-projection":
        return lstm(n, 100) + 100 * 100 + 100
    if name == "cblstm-states":
        return 2 * lstm(n, 50)
    return lstm(n, 100)


def parameters(name, setting, classes):
    features = 26 if name == "baseline" else 100
    if setting == "emotion":
        count = front_end(name, 26) + front_end(name, 100) + lstm(features, 256) + 400 * (256 + 1)
    else:
        count = front_end(name, 26) + 2 * lstm(features, 256) + 400 * (2 * 256 + 1)
    return count + classes * (400 + 1)


PAPER = (
    *("baseline", "conv", "crnn", "cgru", "clstm", "extended-clstm", "cblstm"),
    *("clstm-projection", "cblstm-states"),
    *TABLE_IV,
)


def test_presets_are_the_papers_models_and_those_of_other_cells():
    others = {f"c{name}" for name in CELLS} - {"crnn", "cgru", "clstm"}
    assert tuple(name for name in FRONT_ENDS if name not in others) == PAPER
    assert others <= set(FRONT_ENDS)
    assert SETTINGS == ("emotion", "paralinguistic")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", PAPER)
def test_every_preset_has_the_papers_size_and_learns(name, setting):
    torch.manual_seed(0)
    model = SequenceClassifier(preset(name, setting, in_features=26, num_classes=5))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters(name, setting, 5)
    y = model(torch.randn(2, 70, 26), torch.tensor([70, 33]))
    torch.testing.assert_close(y.exp().sum(-1), torch.ones(2))
    torch.nn.functional.nll_loss(y, torch.tensor([0, 4])).backward()
    # The output of a window's last frame has one step of the backward direction in it, taken from a state that starts
    # at zero: what multiplies that state learns only once the state does.
    later = ("weight_hh_l0_reverse", "weight_peephole_l0_reverse") if (name, setting) == ("cblstm", "emotion") else ()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), parameter_name
        assert bool(parameter.grad.any()) != parameter_name.endswith(later or ("none",)), parameter_name


@pytest.mark.parametrize("name", FRONT_ENDS[1:])
def test_the_setting_emotion_is_section_iv_a(name):
    config = preset(name, "emotion", in_features=26, num_classes=2)
    assert len(config.front_end) == 2
    for layer in config.front_end:
        assert (layer.features.out_features, layer.features.kernel_size, layer.features.stride) == (100, 5, 2)
        assert (layer.pool.kernel_size, layer.pool.stride) == (2, 2)
        if name in ("crnn", "cgru", "clstm", "extended-clstm", "cblstm", "clstm-projection", "cblstm-states"):
            assert layer.features.reduce == "last"
    assert (config.recurrent.hidden_size, config.recurrent.bidirectional) == (256, False)
    assert (config.dense_features, config.last_frames) == (400, 4)
    model = SequenceClassifier(config)
    # A pooled output of the first layer sees 7 frames, one every 4; five of them see 7 + 4 * 4, one every 8; two
    # of those see 8 more, one every 16.
    assert (model.receptive_field, model.frame_stride) == (7 + 4 * 4 + 8, 16)


@pytest.mark.parametrize("name", FRONT_ENDS[1:])
def test_the_setting_paralinguistic_is_section_iv_b(name):
    config = preset(name, "paralinguistic", in_features=26, num_classes=7)
    (layer,) = config.front_end
    assert (layer.features.out_features, layer.features.kernel_size, layer.features.stride) == (100, 5, 2)
    assert (layer.pool.kernel_size, layer.pool.stride) == (2, 2)
    if name in ("crnn", "cgru", "clstm", "extended-clstm", "cblstm", "clstm-projection", "cblstm-states"):
        assert layer.features.reduce == "max"
    assert (config.recurrent.hidden_size, config.recurrent.bidirectional) == (256, True)
    assert (config.dense_features, config.last_frames) == (400, None)
    model = SequenceClassifier(config)
    assert (model.receptive_field, model.frame_stride) == (5 + 2, 2 * 2)


@pytest.mark.parametrize("setting", SETTINGS)
def test_feature_layers_match_their_names(setting):
    def features(name):
        layer = SequenceClassifier(preset(name, setting, in_features=26, num_classes=5)).front_end[0]
        return (layer.rnn_type, layer.sequence, layer.position_weights, layer.bidirectional, layer.projection)

    assert features("crnn") == ("rnn", "hidden", False, False, False)
    assert features("cgru") == ("gru", "hidden", False, False, False)
    assert features("clstm") == ("lstm", "cell", False, False, False)
    assert features("extended-clstm") == ("lstm", "cell", True, False, False)
    assert features("cblstm") == ("lstm", "cell", False, True, True)
    for name in TABLE_IV:
        layer = preset(name, setting, in_features=26, num_classes=5).front_end[0].features
        assert f"clstm-{layer.sequence}-{layer.reduce}" == name


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_configs_survive_json(name, setting):
    config = preset(name, setting, in_features=26, num_classes=5)
    assert SequenceClassifierConfig.model_validate_json(config.model_dump_json()) == config


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="model 'lstm' does not exist; choose from baseline, conv, crnn"):
        preset("lstm", "emotion", in_features=26, num_classes=5)
    with pytest.raises(InputError, match="setting 'age' does not exist; choose from emotion, paralinguistic"):
        preset("clstm", "age", in_features=26, num_classes=5)


@pytest.mark.parametrize(("setting", "twin"), [("emotion", "clstm-cell-last"), ("paralinguistic", "clstm-cell-max")])
def test_two_names_of_one_model_give_equal_configs(setting, twin):
    configs = [preset(name, setting, in_features=26, num_classes=2) for name in FRONT_ENDS]
    same = {
        name for name, config in zip(FRONT_ENDS, configs, strict=True) if config == configs[FRONT_ENDS.index("clstm")]
    }
    assert same == {"clstm", twin}
