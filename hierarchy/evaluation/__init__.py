"""From predictions to tables, figures and reports."""
