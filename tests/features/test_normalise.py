import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn.errors import InputError
from convrnn.features.normalise import Normaliser, Statistics


def utterances(seed, count, features=4, scale=3.0, offset=10.0):
    rng = np.random.default_rng(seed)
    return [
        (scale * rng.standard_normal((int(rng.integers(1, 40)), features)) + offset).astype(np.float32)
        for _ in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 8),
    offset=st.floats(-1e3, 1e3),
    scale=st.floats(0.1, 1e3),
)
def test_statistics_are_those_of_all_frames(seed, count, offset, scale):
    arrays = utterances(seed, count, offset=offset, scale=scale)
    frames = np.concatenate(arrays).astype(np.float64)
    statistics = Statistics.of(iter(arrays))
    np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(statistics.std, frames.std(axis=0), rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.floats(-100, 100), scale=st.floats(0.1, 100))
def test_each_speaker_gets_mean_0_and_deviation_1(seed, offset, scale):
    arrays = utterances(seed, 9, offset=offset, scale=scale)
    arrays = [np.concatenate([x, x + 1]) for x in arrays]
    speakers = ["b", "a", "c"] * 3
    normalised = Normaliser("speaker").transform(arrays, speakers)
    assert [x.shape for x in normalised] == [x.shape for x in arrays]
    for speaker in "abc":
        frames = np.concatenate([x for x, s in zip(normalised, speakers, strict=True) if s == speaker])
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames.mean(axis=0, dtype=np.float64), 0, atol=1e-5)
        np.testing.assert_allclose(frames.std(axis=0, dtype=np.float64), 1, atol=1e-5)


def test_speakers_do_not_affect_each_other():
    arrays = utterances(0, 4)
    together = Normaliser("speaker").transform(arrays, ["a", "b", "a", "b"])
    alone = Normaliser("speaker").transform([arrays[0], arrays[2]], ["a", "a"])
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[2], alone[1])


def test_policy_utterance_uses_only_the_utterances_frames():
    arrays = utterances(1, 3)
    for x, y in zip(arrays, Normaliser("utterance").transform(arrays, ["a", "a", "a"]), strict=True):
        np.testing.assert_allclose(y, Statistics.of([x]).apply(x))


def test_policy_corpus_uses_only_the_training_data():
    train, test = utterances(2, 5), utterances(3, 2, offset=-50.0)
    normaliser = Normaliser("corpus").fit(train)
    frames = np.concatenate(train).astype(np.float64)
    for x, y in zip(test, normaliser.transform(test), strict=True):
        np.testing.assert_allclose(y, (x - frames.mean(axis=0)) / frames.std(axis=0), rtol=1e-5, atol=1e-5)
    again = Normaliser("corpus", normaliser.statistics).transform(test)
    np.testing.assert_array_equal(again[0], normaliser.transform(test)[0])


@pytest.mark.parametrize("policy", ["speaker", "utterance"])
def test_fit_learns_nothing_for_other_policies(policy):
    assert Normaliser(policy).fit(utterances(0, 2)).statistics is None


@pytest.mark.parametrize("value", [0.0, -15.942385, 0.1, 1e-30, 3e4])
@pytest.mark.parametrize("policy", ["speaker", "utterance", "corpus"])
def test_constant_features_give_0(policy, value):
    arrays = utterances(4, 7, features=2)
    for x in arrays:
        x[:, 1] = value
    normaliser = Normaliser(policy).fit(arrays)
    for y in normaliser.transform(arrays, ["a"] * 7):
        assert np.isfinite(y).all()
        assert (y[:, 1] == 0).all()


def test_one_ulp_of_jitter_is_constant():
    x = np.full((1000, 1), -15.942385, dtype=np.float32)
    x[::2] = np.nextafter(x[::2], np.float32(0))
    assert (Normaliser("utterance").transform([x])[0] == 0).all()


def test_one_frame_gives_0():
    assert Normaliser("utterance").transform([np.array([[3.0, -2.0]])])[0].tolist() == [[0.0, 0.0]]


def test_inputs_are_not_changed():
    arrays = utterances(5, 2)
    copies = [x.copy() for x in arrays]
    Normaliser("speaker").transform(arrays, ["a", "b"])
    for x, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


def test_a_large_mean_costs_no_precision():
    rng = np.random.default_rng(0)
    arrays = [1e8 + rng.standard_normal((50, 1)) for _ in range(20)]
    assert Statistics.of(arrays).std[0] == pytest.approx(np.concatenate(arrays).std(), rel=1e-6)


def test_policy_speaker_without_speakers_says_what_to_do():
    with pytest.raises(InputError, match="give them or choose 'utterance' or 'corpus'"):
        Normaliser("speaker").transform(utterances(0, 2))


def test_policy_corpus_before_fit_is_an_error():
    with pytest.raises(RuntimeError, match="call fit"):
        Normaliser("corpus").transform(utterances(0, 2))


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="'file'; choose speaker, utterance, corpus"):
        Normaliser("file")


def test_speakers_and_utterances_must_match():
    with pytest.raises(ValueError, match="got 1 for 2"):
        Normaliser("speaker").transform(utterances(0, 2), ["a"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((0, 3))], "at least one frame"),
        ([np.zeros(3)], r"\[frames, features\]"),
        ([np.zeros((2, 3)), np.zeros((2, 1))], "expected 3 features"),
        ([np.array([[np.nan]])], "not finite"),
    ],
)
def test_statistics_of_invalid_arrays_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        Statistics.of(arrays)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.0, 0.0], [1.0], "one length"),
        ([0.0], [-1.0], "not negative"),
        ([float("nan")], [1.0], "finite"),
    ],
)
def test_damaged_statistics_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Statistics(mean, std)


def test_statistics_accept_lists_from_json():
    assert Statistics([1.0], [2.0]).apply(np.array([[5.0]])).tolist() == [[2.0]]


def test_apply_refuses_another_width():
    with pytest.raises(ValueError, match=r"expected \[frames, 2\]"):
        Statistics([0.0, 0.0], [1.0, 1.0]).apply(np.zeros((3, 1)))


def test_a_recording_of_hours_is_bitwise_equal_to_one_piece():
    x = np.random.default_rng(0).normal(-5, 3, (200_003, 5)).astype(np.float32)
    found = Statistics.of([x])
    whole = x.astype(np.float64)
    mean = whole.mean(axis=0)
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.std, np.sqrt(np.square(whole - mean).sum(axis=0) / len(x)))
    np.testing.assert_array_equal(found.apply(x), ((whole - mean) / found.std).astype(np.float32))
