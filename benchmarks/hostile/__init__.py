"""What a hostile world costs: measured figures for docs/security.md (`make hostile`)."""
