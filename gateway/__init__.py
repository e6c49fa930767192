"""An event gateway for edge hardware: what happens in the physical world, as durable events.

`gateway/README.md` is the architecture on one page.
"""

__version__ = "0.1.0"

EARLIEST = "2025-01-01"
"""A clock that says an earlier day is wrong: nothing of this software is older. Clocks without a battery say less."""
