"""What rules do, done: each action of each rule is a consumer of the log, with a cursor of its own.

`publish`, `webhook`, `log` and `notify` are destinations of a forwarder (`deed`): at least once, in order, with
back-off and dead letters as for a sink. `output` is told by a consumer of its own (`commander`): at most once.
"""

from gateway.actions.actions import Actions, Surroundings

__all__ = ["Actions", "Surroundings"]
