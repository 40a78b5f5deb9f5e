"""What comes back: the plan, its value, its derivatives, and hard assignments."""
