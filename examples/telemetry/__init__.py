"""Weather stations as devices: daily figures, storms, and who has fallen silent: see README.md."""
