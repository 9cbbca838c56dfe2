import io
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.data.sources.conftest import Reader

from evertune.data.sources import columnar


def as_parquet(table: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(table), out, **options)
    return out.getvalue()


@pytest.mark.parametrize(("length", "most"), [(10, 1000), (100_000, 84), (20_000_000, 1)])
def test_of_long_rows_few_are_in_memory_at_once(length: int, most: int) -> None:
    data = as_parquet({"text": [chr(65 + n) * length for n in range(3)]}, use_dictionary=False)
    assert most // 2 <= columnar._batch_rows(parquet.ParquetFile(io.BytesIO(data)).metadata) <= most


def test_a_file_without_rows_has_none(read: Reader) -> None:
    assert read("x.parquet", as_parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})) == []
