"""Benchmarks: each compares a subject with its ceiling within one run, and prints JSON."""
