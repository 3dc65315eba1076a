"""What `manage.py run_experiment` does beyond running: gates, and reports that other tools read."""
