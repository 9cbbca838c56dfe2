"""evertune keeps a fine-tuned language model fresh: validate, version, tune, judge, promote."""

__version__ = "0.1.0"
