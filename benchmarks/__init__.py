"""What `./dev bench` measures: serving, logging, deploying and changing, ours beside what else is in use."""
