"""Card payments: reservations that expire by timers, a nightly settlement."""
