"""The traffic log: every answer and every feedback, on the disk before the caller hears of it.

Appended to segments (one file a minute or 16 MiB, one writer a folder), then drained to Parquet by project and hour.
An id says where its record lies, so a record is found without an index.
"""

from evertune.serving.log.records import Answer, Feedback, LogError, LogFullError, StoredAnswer, StoredFeedback
from evertune.serving.log.traffic import TrafficLog

__all__ = ["Answer", "Feedback", "LogError", "LogFullError", "StoredAnswer", "StoredFeedback", "TrafficLog"]
