"""Who uses space? Bags with known generating rules, from composition to arrangement."""
