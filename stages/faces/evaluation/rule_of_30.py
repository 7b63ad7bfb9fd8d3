"""The rules of 30 and of 3: what a number of impostor pairs says of a false match rate.

At a rate that lets 30 false matches or more be expected, the true rate is within 30 % of the measured one with a
confidence of 90 %, if the pairs are independent. (Doddington et al. 2000, "The NIST speaker recognition evaluation".)

With no error in n pairs, the true rate is below 3 / n with a confidence of 95 %, likewise. (ISO/IEC 19795-1.)
"""

from typing import Annotated

from pydantic import Field

MIN_FALSE_MATCHES = 30
RULE_OF_3 = 3.0

Rate = Annotated[float, Field(gt=0, lt=1)]  # a false match rate in params.yaml


def is_supported(rate: float, impostors: int) -> bool:
    """Tell whether `impostors` impostor pairs (or probes of strangers) support a false match rate."""
    return impostors * rate >= MIN_FALSE_MATCHES


def lowest_supported_rate(impostors: int) -> float:
    """Return the lowest false match rate that `impostors` impostor pairs support, 1 at most."""
    return min(1.0, MIN_FALSE_MATCHES / impostors)


def is_measurable(rate: float, impostors: int) -> bool:
    """Tell whether one false match or more is to be expected: at a lower rate, a figure would be one at a rate of 0."""
    return impostors * rate >= 1


def describe_unmeasurable(metric: str, rate: float, what: str, count: int) -> str:
    """Return a metric that is left out, with the reason: there are only `count` of `what` for its rate."""
    return f"{metric} (needs {1 / rate:,.0f} {what}, there are {count:,})"
