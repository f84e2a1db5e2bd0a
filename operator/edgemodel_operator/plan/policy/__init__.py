"""Decisions: one small file each, pure functions of their arguments, clock included."""
