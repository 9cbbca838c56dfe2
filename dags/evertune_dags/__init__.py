"""What the DAG files share, under a name that no module of other DAGs has: Airflow may import both in one process."""
