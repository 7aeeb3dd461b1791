"""What a study left, as tables, figures and one page."""
