"""BERT classifiers computed in bf16 by a processor's matrix units (AMX): own code, compiled where it runs.

Where the processor has them and a C compiler is there, such a model answers with half of ONNX Runtime's time and with
numbers nearer to those it was trained with (``benchmarks.engines``). Everywhere else, and for all other architectures,
ONNX Runtime computes: decision 6.
"""
