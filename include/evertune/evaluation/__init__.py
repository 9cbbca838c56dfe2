"""What is measured of a candidate, and what the gate makes of it."""
