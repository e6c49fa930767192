"""Sequences and streams, written so that a case fits a line.

A sequence is a text of steps: `a b` (then), `a next.b`, `a any.b`, `a{2..4} b`, `a{2..} b`, `a{1..3}g b` (greedy), `!x`
and `!x/10` (not, for 10), `(a&b)` and `(a|b)` (groups). Where one letter stands twice, `name=letter` tells them apart.

A stream is a text of events: `a1@3` is the event "a1", at 3, that fits every condition of the letter a; `ab@4`
fits those of a and of b. What comes out: `4 a:a1 b:b1,b2` is a match at 4, `10! a:a1` a timeout at 10.
"""

from __future__ import annotations

import re

from gateway.rules.sequence import AllOf, Condition, Match, Matcher, Not, Pattern, Step

STEP = re.compile(r"^(?:(then|next|any)\.)?(!?)(\(.+\)|[a-z0-9=]+)(?:\{(\d+)(\.\.)?(\d+)?\})?(g?)(?:/(\d+))?$")


class Rule:
    """A pattern, and the names of its conditions by letter."""

    def __init__(self, text, *, where=None, partials=10, **options):
        self.where = where or {}
        self.names = {}
        self.steps = self._steps(text)
        self.pattern = Pattern(self.steps, within_ns=options.pop("within", None), partials_max=partials, **options)

    @classmethod
    def steps_of(cls, text):
        """The steps alone, whether they make a sequence or not."""
        rule = cls.__new__(cls)
        rule.where, rule.names = {}, {}
        return rule._steps(text)

    def _steps(self, text):
        return tuple(self._step(token) for token in text.split())

    def _condition(self, text):
        name, _, letter = text.rpartition("=")
        name = name or letter
        self.names.setdefault(letter, []).append(name)
        return Condition(name, self.where.get(name))

    def _step(self, token):
        found = STEP.match(token)
        assert found, f"{token!r} is no step"
        link, negated, body, low, dots, high, greedy, time = found.groups()
        if negated:
            return Not(self._condition(body), int(time) if time else None)
        link = link or "then"
        if body.startswith("(") and "&" in body:
            return AllOf(tuple(map(self._condition, body[1:-1].split("&"))), link)
        low = int(low) if low else 1
        high = int(high) if high else None if dots else low
        return Step(tuple(map(self._condition, body.strip("()").split("|"))), link, low, high, greedy == "g")

    def fits(self, event):
        letters = dict.fromkeys(re.match("[a-z]*", event)[0])
        return tuple(name for letter in letters for name in self.names.get(letter, ()))

    def matcher(self, at=None):
        return Matcher(self.pattern, at)

    def play(self, stream, until=None, *, at=None, matcher=None):
        """Everything that is found in the stream, and after it until the given time."""
        matcher = matcher or self.matcher(at)
        found = []
        for event, time in events(stream):
            if fits := self.fits(event):
                found += matcher.feed(time, fits, event)
        if until is not None:
            found += matcher.advance(until)
        return [shown(one) for one in found]


def events(stream):
    for token in stream.split():
        event, _, at = token.partition("@")
        yield event, int(at)


def shown(one):
    steps = " ".join(f"{name}:{','.join(map(str, matched))}" for name, matched in one.steps.items())
    return f"{one.at}{'' if isinstance(one, Match) else '!'} {steps}"


def play(text, stream, until=None, *, at=None, **options):
    return Rule(text, **options).play(stream, until, at=at)
