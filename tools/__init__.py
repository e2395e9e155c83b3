"""What makes files of the repository anew; the service imports nothing of it."""
