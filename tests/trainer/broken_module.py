"""What importing it raises is a user's mistake."""

SHARE = 1 / 0
