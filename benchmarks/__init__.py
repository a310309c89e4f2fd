"""What the system costs: measured by `make bench` and its sisters, never inside the tests."""
