"""Releases: which candidate becomes the model that answers, and its projection into MLflow."""
