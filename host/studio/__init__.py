"""The page of `host studio`: run a network, look into it, collect pictures, train.

`.session` owns the port, in a thread of its own; `.server` has the routes, `.guard` keeps strangers
out, and `page/` is the page. The session knows nothing of the web, and the page nothing of a board.
"""
