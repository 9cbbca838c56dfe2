"""The demo: the whole loop on real text, through Airflow's scheduler, from the first release to the second."""
