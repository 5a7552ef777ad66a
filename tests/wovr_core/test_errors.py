import pickle

from wovr_core.errors import UnknownNameError


def test_an_unknown_name_crosses_between_processes_whole():
    error = UnknownNameError("suite", "libero_objct", ["libero_object", "libero_goal"])
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, UnknownNameError)
    assert str(copy) == str(error)
    assert "did you mean 'libero_object'" in str(copy)
