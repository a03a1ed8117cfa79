"""The engine: tape reader, weight ring, pixel fetcher, multipliers, drain, epilogue, writer."""
