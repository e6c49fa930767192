"""Reading -> Event: what a driver reported becomes a record that needs no further explanation. Pure.

A `Normalizer` serves one device. Each reading goes through its channel's chain, in this fixed order; what the YAML does
not name is left out:

    step                                       decides                                              file
    ------------------------------------------ ---------------------------------------------------- -------------
    check                                      is it a value at all, in a unit that we know         judge.py
    expression, scale, bias, calibration       what the value is                                    correct.py
    plausible                                  is that physically possible                          judge.py
    spike, filter, average                     what several readings have in common                 filters.py
    range                                      is that what the user expects                        normalizer.py
    deadband, heartbeat,                       is it worth a record now                             gate.py
    min_interval, rate_limit

A value is null if, and only if, its quality is bad: a consumer can never take rubbish for a measurement. What is bad
goes past the filters, straight to the last step: absence of good data is information.
"""

from gateway.normalize.judge import INTEGER_MAX, NUMBER_MAX, REASON_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, Judged
from gateway.normalize.normalizer import Instant, Normalizer

__all__ = [
    "INTEGER_MAX",
    "NUMBER_MAX",
    "REASON_CHARACTERS_MAX",
    "TEXT_CHARACTERS_MAX",
    "Instant",
    "Judged",
    "Normalizer",
]
