"""The agent runtime: makes a pure function over events safe on Faust and Kafka.

An author writes an `Agent`; the rest of this package keeps its state, delivers
what it emits at least once and in order, and names each emission after its cause,
so that whoever reads it can drop replays (docs/delivery.md).
"""

from agents.runtime.agent import Agent, Context, Emit

__all__ = ["Agent", "Context", "Emit"]
