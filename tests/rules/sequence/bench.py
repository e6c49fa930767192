"""What an event costs the matcher of its key: `python -m tests.rules.sequence.bench`.

Figures are the best of five runs, in ns of CPU per event, beside a call of a function that does nothing.
"""

from __future__ import annotations

from time import process_time_ns

from tests.rules.sequence.kit import Rule

EVENTS = 100_000
FAR = 1 << 60


def best_ns(run, count=EVENTS, runs=5):
    """Nanoseconds of one of `count` turns of `run(count)`."""
    times = []
    for _ in range(runs):
        start = process_time_ns()
        run(count)
        times.append((process_time_ns() - start) / count)
    return min(times)


def fed(rule, before, *letters):
    """Feeds the events of the letters in turn, at 1 ns each, to a matcher that has seen the stream `before`."""

    def run(count):
        matcher = rule.matcher(0)
        rule.play(before, matcher=matcher)
        feed, turns = matcher.feed, [rule.fits(letter) for letter in letters]
        at = matcher._number + 100
        for n in range(count // len(turns)):
            for names in turns:
                feed(at + n, names, n)

    return run


def nothing(at, fits, event):
    """The bare call."""


def bare(count):
    names = ("a",)
    for n in range(count):
        nothing(n, names, n)


CASES = {
    "bare call": bare,
    "nothing open, starts nothing": fed(Rule("a b c"), "", "b"),
    "one open, advances nothing": fed(Rule("a b c", within=FAR), "a@0", "a"),
    "ten open, advance nothing": fed(
        Rule("a b (c|d)", within=FAR, mode="parallel"), " ".join(f"a@{n}" for n in range(10)), "d"
    ),
    "restart at every event": fed(Rule("a b", within=FAR, mode="restart"), "", "a"),
    "drop and start, ten open": fed(Rule("a b", within=FAR, mode="parallel"), "", "a"),
    "match at every second event": fed(Rule("a b", within=FAR), "", "a", "b"),
    "match at every third, strict": fed(Rule("a next.b next.c", within=FAR), "", "a", "b", "c"),
    "timeout and start at every event": fed(Rule("a b", within=1), "", "a"),
    "repeat, greedy": fed(Rule("a{1..}g b", within=FAR), "a@0", "a"),
}

IDLE = ("nothing open, starts nothing", "one open, advances nothing", "ten open, advance nothing")


def main():
    lines = [f"{name:<36}{best_ns(run):8.0f} ns" for name, run in CASES.items()]
    print("\n".join(lines))  # noqa: T201 - a bench prints


if __name__ == "__main__":
    main()
