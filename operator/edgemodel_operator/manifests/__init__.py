"""Builders: one file per kind, each a pure function from decisions to the object that is applied."""
