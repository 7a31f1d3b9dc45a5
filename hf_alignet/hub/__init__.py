"""The Hub: `transport` and `cards` lie below the rooms that share something, `publish` above them."""
