"""Suites that a driver or sink of one's own can run: what the gateway relies on, as tests.

`gateway.testing.drivers.DriverContract` and `gateway.testing.sinks.SinkContract`. They need pytest (for sinks with
pytest-asyncio), and nothing else that the gateway does not bring.
"""
