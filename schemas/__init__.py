"""What is said on the bus: event types, their envelope, ids, and the one catalogue of topics."""
