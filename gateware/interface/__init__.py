"""What gateware and host share, written once in plain Python: nothing here imports Amaranth."""
