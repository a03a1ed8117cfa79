"""The serial link: UART, framing, commands."""
