"""Cases for rules: what happens at which time, and what the rules must say. A virtual clock, no gateway. Pure.

A series is written as tokens, each a value and a time, or values at a steady pace:

    on@5s off@6.2s bad@8s                 values at times
    every 1m: 29 30.5 _ 31x2 20+0.5x3     one each minute: `_` is none, 31x2 is 31 31 31, 20+0.5x3 is 20 20.5 21 21.5

`on`, `off`, `open`, `closed`, `true` and `false` are levels (type `state`), numbers are readings, `bad` is a reading
without a value, any other word is an input. What must be said is written the same way, with what is to be compared
behind it:

    raised@5.8s since=5s                  `rule.raised` at 5.8 s
    cellar-1m window@1m n=2 avg=21        with the rule's id where a case has several rules

Nothing else may be said. Values that are times (`since`, `start`, ..) are durations from the beginning of the case.
"""

from gateway.rules.cases.model import CaseConfig, CasesConfig
from gateway.rules.cases.notation import parse_expected, parse_series
from gateway.rules.cases.outcome import Outcome
from gateway.rules.cases.stage import run_case

__all__ = ["CaseConfig", "CasesConfig", "Outcome", "parse_expected", "parse_series", "run_case"]
