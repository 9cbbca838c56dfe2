"""ONNX graphs: how a network becomes one, and what is made of it so that it answers fast.

:mod:`.export` writes it; :mod:`.plain` and :mod:`.first` change how it is computed and no number; :mod:`.quantise`
plans what 8 bits become of it, and :mod:`.integers` writes that.
"""
