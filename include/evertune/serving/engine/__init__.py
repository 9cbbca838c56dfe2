"""What turns texts into answers: a release's model in its fastest exact enough form, and the batcher in front of it."""
