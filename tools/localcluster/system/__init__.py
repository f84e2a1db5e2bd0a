"""Processes, commands, folders and progress of this machine."""
