"""The ledger: who asked for a run, who has it, what its steps gave, which release answers, and proof of all that.

SQLite where nothing is set up, PostgreSQL in production; one code, one behaviour, the same tests. Everything that must
happen once happens here, in one write transaction that sees what every earlier one did.
"""
