"""Measurements that go into docs/benchmarks.md. Not installed: run them from a clone."""
