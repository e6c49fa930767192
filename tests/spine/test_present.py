"""What the present promises: the newest value of everything, and none for what does not answer."""

from msgspec.structs import replace

from gateway.event import Event
from gateway.present import Latest


def reading(subject, value, kind="reading"):
    return Event(kind, subject, 5, 5, value, "Cel", "good")


def availability(device, *, up):
    return Event("device.available" if up else "device.unavailable", device, 9, 9)


def values(latest):
    return {event.subject: event.value for event in latest.values()}


def test_the_newest_value_of_each_subject_is_shown_and_occurrences_are_not():
    latest = Latest(dict)
    latest.apply(
        [reading("a/t", 1.0), reading("a/t", 2.0), reading("a/s", True, "state"), reading("a/k", "x", "input")]
    )
    assert values(latest) == {"a/t": 2.0, "a/s": True}


def test_a_device_that_does_not_answer_has_no_values_and_others_keep_theirs():
    latest = Latest(dict)
    latest.apply([reading("a/t", 1.0), reading("ab/t", 2.0), availability("a", up=False)])
    assert values(latest) == {"a/t": None, "ab/t": 2.0}
    assert dict(latest.availability()) == {"a": False}
    (blank,) = [event for event in latest.values() if event.subject == "a/t"]
    assert (blank.quality, blank.reason, blank.time) == ("bad", "unavailable", 9)
    latest.apply([availability("a", up=True), reading("a/t", 3.0)])
    assert values(latest)["a/t"] == 3.0
    assert dict(latest.availability()) == {"a": True}


def test_watchers_hear_every_change_until_they_stop():
    latest, heard = Latest(dict), []
    end = latest.watch(heard.append)
    latest.apply([reading("a/t", 1.0), reading("a/k", "x", "input"), availability("a", up=False)])
    assert [(e.type, e.value) for e in heard] == [("reading", 1.0), ("device.unavailable", None), ("reading", None)]
    end()
    end()
    latest.apply([reading("a/t", 2.0)])
    assert len(heard) == 3


def test_the_birth_document_is_made_when_it_is_asked_for():
    births = iter([{"n": 1}, {"n": 2}])
    latest = Latest(lambda: next(births))
    assert (latest.status(), latest.status()) == ({"n": 1}, {"n": 2})


def test_values_that_stand_at_a_wrong_time_are_told_again_when_the_time_is_known():
    wrong = Event("reading", "a/b", 1_000, 10, 21.5, synced=False)
    right = Event("reading", "a/c", 9_000, 10, 21.5)
    known = []
    latest = Latest(dict, dated=lambda events: [replace(event, time=known[0] + event.mono) for event in events])
    latest.apply([wrong, right])
    told = []
    latest.watch(told.append)
    known.append(990)
    latest.apply([Event("clock.step", "gateway", 1, 1)])
    assert told == [], "it was right by chance"
    known[0] = 9_000
    latest.apply([Event("clock.step", "gateway", 1, 1)])
    assert [(event.subject, event.time, event.synced) for event in told] == [("a/b", 9_010, False)]
    assert {event.time for event in latest.values()} == {9_010, 9_000}
