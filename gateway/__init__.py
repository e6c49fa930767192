"""An event gateway for edge hardware: what happens in the physical world, as durable events.

`gateway/README.md` is the architecture on one page.
"""

__version__ = "0.1.0"

RELEASED = "2026-11-23"
"""When this version was made: a clock that says earlier is wrong."""
