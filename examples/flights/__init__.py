"""Every flight that left New York in 2013, through one service: see README.md."""
