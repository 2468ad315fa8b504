"""What a terminal shows: tables, predictions, the board of steps under way."""
