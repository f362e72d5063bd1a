"""What a finished run is asked for: top items of users and histories, also among items that came
after training.
"""
