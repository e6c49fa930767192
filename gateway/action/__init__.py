"""What a rule does when it speaks. Pure: the words; what carries them out is in `gateway.actions`.

    {publish: {topic: "home/alarm", data: {temperature: "{value}"}}}    any topic, through a sink that can
    {webhook: "https://example.org/hook"}                               the event as a CloudEvent, or your own `json:`
    {log: "{subject} is {value}"}                                       a line in the gateway's log
    {notify: "Cellar {value} °C for {held}"}                            a push message
    {output: fan, set: on, ensure: true}                                set, toggle or pulse

`model` is how an action is written, `names` what its texts may mention, `outputs` what it means for a device that acts,
`check` what may be wrong with it. `duty` gives each action a consumer of the log.
"""

from gateway.action.check import problems
from gateway.action.duty import Duty, duties
from gateway.action.model import (
    ActionConfig,
    LogConfig,
    NotifierConfig,
    NotifyConfig,
    Phase,
    PublishConfig,
    WebhookConfig,
)
from gateway.action.names import known_names, values_of
from gateway.action.outputs import Target, level, target

__all__ = [
    "ActionConfig",
    "Duty",
    "LogConfig",
    "NotifierConfig",
    "NotifyConfig",
    "Phase",
    "PublishConfig",
    "Target",
    "WebhookConfig",
    "duties",
    "known_names",
    "level",
    "problems",
    "target",
    "values_of",
]
