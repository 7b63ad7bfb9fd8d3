import pytest

from faces.search.trial import try_index

DIMENSIONS = 16


@pytest.mark.parametrize(
    ("factory", "parameters"),
    [
        ("HNSW2", "efSearch=64"),
        ("IVF4,Flat", "nprobe=2"),
        ("IVF256,PQ4x4", ""),
        ("PQ4", ""),
        ("IVF65536,Flat", ""),  # more cells than a trial has vectors
    ],
)
def test_what_can_be_built_passes(factory: str, parameters: str) -> None:
    assert try_index(factory, parameters, DIMENSIONS) == ""


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("HNSW1", "FAISS crashes on it (exit code -11)"),  # a graph of one link a node divides by the logarithm of 1
        ("HNSW0", "FAISS crashes on it (exit code -6)"),
        ("IVF16_HNSW1,PQ4", "FAISS crashes on it (exit code -11)"),
        ("HNSW400000000", "FAISS says std::bad_alloc"),
        ("Nonsense", "FAISS says could not parse index string Nonsense"),
        ("PQ5", "FAISS says"),  # 16 dimensions are not five parts
    ],
)
def test_what_crashes_or_fills_the_memory_ends_a_process_of_its_own(factory: str, said: str) -> None:
    assert said in try_index(factory, "", DIMENSIONS)


@pytest.mark.parametrize("number", ["0", "0.0", "-1", "nan", "inf", "1e9", "", "1=2"])
def test_a_parameter_is_a_number_that_faiss_can_take(number: str) -> None:
    assert "should be <name>=<number>" in try_index("IVF4,Flat", f"nprobe={number}", DIMENSIONS)
