"""Watching traffic after a release: what has changed, how sure that is, and what it is about."""
