"""From files to a cohort: who is who, and which report is whose."""
