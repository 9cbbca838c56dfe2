"""Serving: the champion answers over REST and GraphQL, each answer is logged before it is sent."""
