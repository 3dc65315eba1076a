"""Evalsuite: choose prompts and models with evidence."""
