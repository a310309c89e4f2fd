"""The Grafana dashboards as code: `parts` holds what they are made of, every other module one of them."""
