"""`.keras` files to float graphs."""
