"""How it moves: the broker, the connection to it, lanes, the relay, dead letters, lag."""
