"""The page that shows what a prepared cohort holds."""
