"""What each route of the desk does, by what it is about.  Every answer is made from the owners' own state."""
