"""Is the data fit to learn from? Facts of each row, judged by Great Expectations, and what follows from it.

``labels`` and ``scripts`` tell facts of a row, ``facts`` puts them into columns, ``checks`` and ``expectations`` name
what must hold, ``frames`` and ``table`` have the rows that are asked, ``engine`` has Great Expectations judge,
``findings`` says it in words, ``docs`` shows it to people.
"""
