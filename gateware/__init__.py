"""The hardware: the engine, its memory, the serial link, and the interface both sides share."""
