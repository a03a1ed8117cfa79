"""How a bitstream is built: from a board's declaration to the file that it is sent."""
