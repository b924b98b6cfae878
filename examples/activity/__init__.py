"""What visitors of a shop do: sessions, funnels and an audit log out of a clickstream."""
