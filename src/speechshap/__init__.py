"""Train, explain and see what a speech emotion classifier decides on."""
