"""Collects odd-one-out choices in the browser: from pictures to a judgments Dataset."""
