"""The site of many boards."""
