"""The models of scikit-learn and its kind: the operators of ai.onnx.ml, which take a table and answer by its rows."""

from collections.abc import Mapping

from edgemodel_server.model.rows.rules.elementwise import elementwise
from edgemodel_server.model.rows.rules.shapes import Rule
from edgemodel_server.model.rows.sizes import unknown
from edgemodel_server.model.rows.tensors import Call, MixesError, Tensor, broadcast, by_rows, shared

_CLASSIFIERS = ["LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"]
_REGRESSORS = ["LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"]
_COLUMNS = ["Imputer", "Normalizer", "Scaler"]
_ELEMENTS = ["Binarizer", "LabelEncoder"]


def _table(call: Call) -> Tensor:
    """The first input, if it is a table whose rows are the batch's or the model's own."""
    source = call.input(0)
    if source.rank != 2 or (source.rows is not None and source.rows.axis != 0):
        raise MixesError("has an input that is not one line for each row of the batch")
    return source


def classifier(call: Call) -> list[Tensor]:
    """A label and a score for each class."""
    source = _table(call)
    if source.rows is None:
        return [shared(), shared()]
    return [by_rows([0], source.rows), by_rows([0, unknown(least=0)], source.rows)]


def regressor(call: Call) -> list[Tensor]:
    """A value for each target."""
    source = _table(call)
    if source.rows is None:
        return [shared()]
    return [by_rows([0, int(call.attribute("n_targets", call.attribute("targets", 1)))], source.rows)]


def columns(call: Call) -> list[Tensor]:
    """Each line by what is known of the columns, or by its own length."""
    return [broadcast([_table(call)])]


def picked_columns(call: Call) -> list[Tensor]:
    """ArrayFeatureExtractor: entries of the last dimension."""
    source = call.input(0)
    call.check_shared(1)
    if source.rows is not None and (source.rows.axis == source.rank - 1 or source.rank < 2):
        raise MixesError("picks rows of the batch by number")
    sizes = [*source.dimensions[:-1], unknown(least=0)]
    return [shared(sizes) if source.rows is None else by_rows(sizes, source.rows)]


RULES: Mapping[tuple[str, str], Rule] = {
    **{("ai.onnx.ml", name): classifier for name in _CLASSIFIERS},
    **{("ai.onnx.ml", name): regressor for name in _REGRESSORS},
    **{("ai.onnx.ml", name): columns for name in _COLUMNS},
    **{("ai.onnx.ml", name): elementwise for name in _ELEMENTS},
    ("ai.onnx.ml", "ArrayFeatureExtractor"): picked_columns,
}
