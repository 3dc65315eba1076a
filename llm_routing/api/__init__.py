"""The registry over HTTP: chat profiles, providers, models."""
