from faces.evaluation.rule_of_30 import is_measurable, is_supported


def test_rule_of_30() -> None:
    assert is_supported(0.01, 3000) and not is_supported(0.01, 2999)
    assert is_supported(0.0001, 300_000) and not is_supported(0.0001, 299_999)


def test_a_rate_below_one_false_match_is_not_measurable() -> None:
    assert is_measurable(0.01, 100) and not is_measurable(0.01, 99)
