"""Views: filled by a subscription, built anew beside the running version, queried."""
