"""The rule engine: from events to what they mean. README.md in this folder is the language reference.

`Engine` is pure: `feed(event, at)`, `advance(at)`, `snapshot()`, `restore(state)`. `Detector` puts it between
normalize and record; `Fold` brings it back from the log.
"""

from gateway.rules.engine import Engine, SnapshotUnfit
from gateway.rules.graph import RuleCycle, RulesTooDeep
from gateway.rules.model import RuleConfig

__all__ = ["Engine", "RuleConfig", "RuleCycle", "RulesTooDeep", "SnapshotUnfit"]
