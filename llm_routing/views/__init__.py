"""Console pages. Each finds its object through the org, calls a service or a queryset, and answers."""
