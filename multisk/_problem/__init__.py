"""What is asked: a problem, its budgets, and the system of equations they make."""
