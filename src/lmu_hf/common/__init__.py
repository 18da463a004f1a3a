"""What the floors above share: a run's record, its lock, files written whole, and how a failure is told."""
