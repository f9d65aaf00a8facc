import itertools

import audmetric
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from convrnn.experiments.statistics import SMALLEST_P, Tally, bootstrap_interval, holm, paired_test


def tally(hits, totals):
    """A tally of given counts, [seeds, speakers, classes] and [speakers, classes]."""
    hits, totals = np.array(hits, dtype=np.int64), np.array(totals, dtype=np.int64)
    assert hits.shape[1:] == totals.shape
    return Tally(tuple(f"s{number:03}" for number in range(len(totals))), hits, totals)


# Standard deviations of a model's log-odds over speakers' classes, seeds, and speakers with seeds.
NULLS = {
    "speakers matter": {"speaker": 0.5, "seed": 0.0, "both": 0.0},
    "seeds matter": {"speaker": 0.0, "seed": 0.3, "both": 0.0},
    "all matter": {"speaker": 0.3, "seed": 0.15, "both": 0.1},
    "only chance": {"speaker": 0.0, "seed": 0.0, "both": 0.0},
}


class TestTally:
    def test_pools_speakers_as_audmetric_does(self):
        generator = np.random.default_rng(0)
        classes = ["x", "y", "z"]
        speakers = generator.choice(["b", "a", "c"], 60).tolist()
        truth = generator.choice(classes, 60).tolist()
        predictions = [generator.choice(classes, 60).tolist() for _ in range(3)]
        counted = Tally.of([(speakers, truth, prediction) for prediction in predictions], classes)
        assert counted.speakers == ("a", "b", "c")
        assert counted.totals.sum() == 60
        for recalls, average, prediction in zip(counted.recalls, counted.ua_recalls, predictions, strict=True):
            expected = audmetric.recall_per_class(truth, prediction, classes)
            assert recalls == pytest.approx([100 * expected[name] for name in classes])
            assert average == pytest.approx(100 * audmetric.unweighted_average_recall(truth, prediction, classes))

    def test_recall_of_a_speaker_is_over_the_classes_that_the_speaker_has(self):
        # a: x 2 of 4, y 1 of 1; b: y only, 0 of 2 with one seed and 1 of 2 with the other.
        speakers, truth = "aaaaabb", "xxxxyyy"
        counted = Tally.of([(speakers, truth, "xxyyyxx"), (speakers, truth, "xxyyyyx")], "xy")
        assert counted.speaker_recalls.tolist() == [75.0, 25.0]

    def test_class_without_test_example_is_refused(self):
        with pytest.raises(ValueError, match="no test example of class y, z"):
            Tally.of([("ab", "xx", "xy")], "xyz")

    @pytest.mark.parametrize("other", [("ab", "xx"), ("ac", "xy"), ("abb", "xyy")])
    def test_seeds_that_were_tested_on_something_else_are_refused(self, other):
        speakers, truth = other
        with pytest.raises(ValueError, match="seeds were not tested on the same"):
            Tally.of([("ab", "xy", "xy"), (speakers, truth, truth)], "xy")


class TestInterval:
    def test_the_interval_is_that_of_all_resamples(self):
        totals = [[4, 1], [2, 3], [0, 6], [5, 2]]
        hits = [[[3, 1], [2, 1], [0, 4], [1, 2]], [[4, 0], [0, 3], [0, 2], [2, 1]]]
        means = []
        for drawn in itertools.product(range(4), repeat=4):
            total = sum(np.array(totals[speaker]) for speaker in drawn)
            if (total > 0).all():
                seeds = [sum(np.array(seed[speaker]) for speaker in drawn) / total for seed in hits]
                means.append(100 * np.mean(seeds))
        assert len(means) == 4**4 - 1  # all but four times the third speaker, who lacks a class
        found = bootstrap_interval(tally(hits, totals), resamples=40_000)
        assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.8)

    def test_the_interval_is_reproducible_and_close_to_that_of_other_draws(self):
        generator = np.random.default_rng(1)
        totals = generator.integers(1, 20, (30, 3))
        counted = tally(generator.binomial(totals, 0.6, (5, 30, 3)), totals)
        first = bootstrap_interval(counted)
        assert first == bootstrap_interval(counted)
        assert first != bootstrap_interval(counted, seed=1)
        assert first == pytest.approx(bootstrap_interval(counted, seed=1), abs=0.2)
        assert first[0] < counted.ua_recalls.mean() < first[1]

    def test_the_interval_is_nearly_normal_for_many_similar_speakers(self):
        generator = np.random.default_rng(2)
        shares = generator.integers(20, 81, (1, 400, 1))
        found = bootstrap_interval(tally(shares, np.full((400, 1), 100)))
        half = 1.96 * shares.std() / 20
        assert found == pytest.approx((shares.mean() - half, shares.mean() + half), abs=0.15)

    @pytest.mark.parametrize("totals", [[[3, 3]], [[3, 0], [2, 1], [4, 0]]])
    def test_a_class_of_a_single_speaker_has_no_interval_and_no_test(self, totals):
        counted = tally([totals], totals)
        assert bootstrap_interval(counted) is None
        assert paired_test(counted, tally([np.zeros_like(totals)], totals)) is None


class TestPairedTest:
    def test_with_one_seed_it_is_the_paired_t_test_over_similar_speakers(self):
        generator = np.random.default_rng(3)
        totals = np.full((12, 2), 10)
        first, second = generator.binomial(totals, 0.6, (2, 12, 2))
        found = paired_test(tally([first], totals), tally([second], totals))
        expected = scipy.stats.ttest_rel(first.mean(axis=1) * 10, second.mean(axis=1) * 10)
        interval = expected.confidence_interval(0.95)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))

    def test_with_identical_speakers_it_is_the_t_test_over_seeds(self):
        totals = np.full((6, 2), 10)
        right = np.array([9, 6, 8, 7, 8])
        first = np.broadcast_to(right[:, None, None], (5, 6, 2))
        second = np.full((5, 6, 2), 5)
        found = paired_test(tally(first, totals), tally(second, totals))
        expected = scipy.stats.ttest_1samp(10.0 * (right - 5), 0)
        interval = expected.confidence_interval(0.95)
        assert found.difference == pytest.approx(26)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))

    def test_two_seeds_and_three_speakers_agree_with_a_calculation_by_hand(self):
        # One class with 10 utterances per speaker; the other model gets nothing right. Differences of the seeds: 50 and
        # 60. Left-out means: seed one (55, 50, 45), seed two (65, 60, 55); deviations (5, 0, -5) in both. Covariance
        # over speakers: 2/3 * 50 = 100/3, the variance of the seeds' mean: 50 / 2 = 25.
        totals = [[10], [10], [10]]
        hits = [[[4], [5], [6]], [[5], [6], [7]]]
        found = paired_test(tally(hits, totals), tally(np.zeros((2, 3, 1)), totals))
        quantiles = [scipy.stats.t.isf(0.025, freedom) for freedom in (1, 2)]
        half = (25 * quantiles[0] ** 2 + 100 / 3 * quantiles[1] ** 2) ** 0.5
        assert found.difference == pytest.approx(55)
        assert (found.low, found.high) == (pytest.approx(55 - half), 100)
        # At confidence 1 - p, the interval ends at 0.
        ends = [scipy.stats.t.isf(found.p / 2, freedom) for freedom in (1, 2)]
        assert (25 * ends[0] ** 2 + 100 / 3 * ends[1] ** 2) ** 0.5 == pytest.approx(55)

    def test_swapping_the_models_only_changes_the_sign(self):
        generator = np.random.default_rng(4)
        totals = generator.integers(1, 9, (9, 3))
        first, second = (tally(generator.binomial(totals, 0.5, (4, 9, 3)), totals) for _ in range(2))
        one, other = paired_test(first, second), paired_test(second, first)
        assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
        assert one.p == pytest.approx(other.p)

    def test_equal_models_do_not_differ(self):
        counted = tally([[[1, 2], [3, 1]], [[2, 2], [1, 1]]], [[3, 3], [3, 3]])
        found = paired_test(counted, counted)
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)

    def test_a_difference_that_is_the_same_everywhere_cannot_be_judged(self):
        totals = [[3], [3], [3]]
        assert paired_test(tally([totals] * 2, totals), tally(np.zeros((2, 3, 1)), totals)) is None

    def test_p_has_a_lower_limit(self):
        totals = np.full((400, 1), 100)
        hits = np.random.default_rng(5).binomial(totals, 0.9, (1, 400, 1))
        assert paired_test(tally(hits, totals), tally(np.zeros_like(hits), totals)).p == SMALLEST_P

    def test_different_utterances_or_numbers_of_seeds_are_refused(self):
        one = tally([[[1], [1]]], [[2], [2]])
        for other in (tally([[[1], [1]]], [[3], [2]]), tally([[[1], [1]]] * 2, [[2], [2]])):
            with pytest.raises(ValueError, match="same test utterances and the same number of seeds"):
                paired_test(one, other)

    # One seed cannot show how much seeds vary, which the report says.
    @pytest.mark.parametrize(
        ("name", "seeds"),
        [(name, seeds) for name, effects in NULLS.items() for seeds in (1, 2, 5) if seeds > 1 or not effects["seed"]],
    )
    def test_a_true_null_hypothesis_is_rejected_in_at_most_five_percent(self, name, seeds):
        # 6.2 % is 1.75 standard errors of 1000 draws above 5 %.
        assert self.rejections(1000, NULLS[name], seeds, gain=0.0) <= 0.062

    def test_a_real_difference_is_found(self):
        assert self.rejections(200, NULLS["all matter"], 5, gain=0.5) > 0.9

    def rejections(self, count, effects, seeds, *, gain):
        generator = np.random.default_rng(6)
        found = []
        for _ in range(count):
            totals = generator.integers(1, 30, (25, 2))
            easy = generator.normal(0.5, 0.5, (25, 1))
            models = []
            for shift in (gain, 0.0):
                odds = (
                    easy
                    + shift
                    + effects["speaker"] * generator.standard_normal((25, 2))
                    + effects["seed"] * generator.standard_normal((seeds, 1, 1))
                    + effects["both"] * generator.standard_normal((seeds, 25, 2))
                )
                models.append(tally(generator.binomial(totals, 1 / (1 + np.exp(-odds)), (seeds, 25, 2)), totals))
            found.append(paired_test(*models).p < 0.05)
        return np.mean(found)


class TestHolm:
    def test_corrected_values_agree_with_a_calculation_by_hand(self):
        # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 raised to 0.06.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
        assert holm([0.7]) == [0.7]
        assert holm([]) == []

    @given(st.lists(st.floats(0, 1), max_size=12))
    def test_corrected_values_lie_between_raw_and_bonferroni_and_keep_the_order(self, raw):
        corrected = holm(raw)
        for before, after in zip(raw, corrected, strict=True):
            assert before <= after <= min(1, len(raw) * before)
        pairs = sorted(zip(raw, corrected, strict=True))
        assert all(one[1] <= other[1] for one, other in itertools.pairwise(pairs))


def test_an_interval_needs_resamples_with_every_class():
    # Forty classes of two speakers each: only about four in a thousand resamples have all of them.
    totals = np.kron(np.eye(40, dtype=int), np.ones((2, 1), dtype=int))
    counted = tally([totals], totals)
    assert counted.speakers_suffice
    assert bootstrap_interval(counted) is None
    assert paired_test(counted, tally([np.zeros_like(totals)], totals)) is None  # the same difference everywhere
