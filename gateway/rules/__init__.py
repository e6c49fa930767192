"""The rule engine: from events to what they mean. README.md in this folder is the language reference.

`engine.Engine` is pure: `feed(event, at)`, `advance(at)`, `snapshot()`, `restore(state)`. `detect.Detector` puts it
between normalize and record; `fold.Fold` brings it back from the log.
"""
