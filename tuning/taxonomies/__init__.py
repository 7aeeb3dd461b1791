"""The search for a grouping of the emotions: candidates, their trainings, what they are worth."""
