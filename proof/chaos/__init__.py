"""The proof of the law of delivery: faults, histories, and a checker (docs/delivery.md)."""
