"""Top items of users and histories by a finished run, also among items after training."""
