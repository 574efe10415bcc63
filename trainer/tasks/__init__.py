"""What is predicted: the loss, answers, metrics, and which score is better."""
