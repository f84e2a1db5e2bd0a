"""Benchmarks: each prints a table and writes ``build/bench/<name>.json`` with its goals and what was measured."""
