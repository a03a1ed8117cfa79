"""Hardware against the software reference, one picture or many, and how fast it is."""
