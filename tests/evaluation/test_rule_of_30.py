from faces.evaluation.rule_of_30 import is_supported


def test_rule_of_30() -> None:
    assert is_supported(0.01, 3000) and not is_supported(0.01, 2999)
    assert is_supported(0.0001, 300_000) and not is_supported(0.0001, 299_999)
