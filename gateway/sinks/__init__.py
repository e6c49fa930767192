"""Sinks: where events leave. Each is found through the entry-point group `gateway.sinks`; none knows another."""
