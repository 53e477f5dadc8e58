"""Makes the files of this folder: pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnxruntime==1.32.0 pandas."""

import pathlib
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
import pandas
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_static,
)
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    FloatTensorType, Int64TensorType, StringTensorType,
)

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
ROWS = 20


def save(name, model):
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def answers(name, inputs):
    """Probabilities, or scores, by onnxruntime."""
    session = onnxruntime.InferenceSession(HERE / f"{name}.onnx")
    output = session.run(None, inputs)[-1]
    np.save(HERE / f"{name}.outputs.npy", np.asarray(output, dtype=np.float32))


def tables():
    """Numbers that are filled in and scaled beside words, one input for each column; and one tensor of numbers."""
    rng, n = np.random.default_rng(7), 300
    table = pandas.DataFrame({
        "age": rng.normal(52, 14, n).round(1).astype(np.float32),
        "drug": rng.choice(["none", "statin", "aspirin"], n),
        "dose": rng.gamma(2, 10, n).round(1).astype(np.float32),
        "sex": rng.choice(["f", "m"], n),
        "ward": rng.choice([3, 5, 9], n),
    })
    risk = (table.age - 52) / 14 + 1.5 * (table.drug == "statin")
    risk = risk - 0.5 * (table.sex == "f") + (table.ward == 9)
    two = np.where(risk > 0.8, "ill", "well")
    three = np.where(risk > 1, "ill", np.where(risk > 0, "frail", "well"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([
        ("numbers", numbers, ["age", "dose"]),
        ("words", OneHotEncoder(handle_unknown="ignore"), ["drug", "sex"]),
        ("ward", OneHotEncoder(drop="first"), ["ward"]),
    ])
    types = [
        ("age", FloatTensorType([None, 1])), ("drug", StringTensorType([None, 1])),
        ("dose", FloatTensorType([None, 1])), ("sex", StringTensorType([None, 1])),
        ("ward", Int64TensorType([None, 1])),
    ]
    head = table.head(ROWS).copy()
    head.loc[3, "age"] = np.nan
    inputs = {name: head[[name]].to_numpy() for name in head}
    inputs["age"] = inputs["age"].astype(np.float32)
    inputs = {k: v.astype(object) if k in ("drug", "sex") else v for k, v in inputs.items()}
    head.to_csv(HERE / "rows.csv", index=False)
    classifiers = {
        "columns_logistic": (LogisticRegression(), two),
        "columns_mlp": (MLPClassifier((6,), max_iter=300, random_state=1), three),
    }
    for name, (classifier, classes) in classifiers.items():
        model = make_pipeline(columns, classifier).fit(table, classes)
        options = {id(classifier): {"zipmap": False}}
        save(name, to_onnx(model, initial_types=types, options=options))
        answers(name, inputs)

    tensor = table[["ward", "age", "dose"]].to_numpy(np.float32)
    chosen = ColumnTransformer([
        ("age", StandardScaler(), [1]), ("ward", OneHotEncoder(), [0]),
    ])
    classifier = LogisticRegression()
    model = make_pipeline(chosen, StandardScaler(), classifier).fit(tensor, two)
    save("tensor_logistic", to_onnx(model, tensor[:1], options={id(classifier): {"zipmap": False}}))
    np.save(HERE / "tensor_logistic.inputs.npy", tensor[:ROWS])
    answers("tensor_logistic", {"X": tensor[:ROWS]})


def ordinals():
    """Words as numbers: one with a number for other words, some that are scaled afterwards, one that is a number itself."""
    rng, n = np.random.default_rng(11), 300
    sizes, stages = ["small", "medium", "large"], ["i", "ii", "iii", "iv"]
    table = pandas.DataFrame({
        "age": rng.normal(52, 14, n).round(1).astype(np.float32),
        "size": rng.choice(sizes, n),
        "stage": rng.choice(stages, n),
        "sex": rng.choice(["f", "m"], n),
        "ward": rng.choice([3, 5, 9], n),
    })
    risk = (table.age - 52) / 14 + table["size"].map(sizes.index) - table.stage.map(stages.index) + 0.3 * (table.ward == 9)
    classes = np.where(risk > 0.3, "ill", np.where(risk > -1, "frail", "well"))
    known = OrdinalEncoder(categories=[sizes], handle_unknown="use_encoded_value", unknown_value=-1)
    scaled = make_pipeline(OrdinalEncoder(categories=[stages, ["f", "m"]]), StandardScaler())
    columns = ColumnTransformer([
        ("age", StandardScaler(), ["age"]),
        ("size", known, ["size"]),
        ("scaled", scaled, ["stage", "sex"]),
        ("ward", OrdinalEncoder(), ["ward"]),
    ])
    types = [
        ("age", FloatTensorType([None, 1])), ("size", StringTensorType([None, 1])),
        ("stage", StringTensorType([None, 1])), ("sex", StringTensorType([None, 1])),
        ("ward", Int64TensorType([None, 1])),
    ]
    head = table.head(ROWS).copy()
    head.loc[2, "size"] = "huge"
    head.to_csv(HERE / "ordinal_rows.csv", index=False)
    inputs = {name: head[[name]].to_numpy() for name in head}
    inputs["age"] = inputs["age"].astype(np.float32)
    inputs = {k: v.astype(object) if k in ("size", "stage", "sex") else v for k, v in inputs.items()}
    classifier = MLPClassifier((4,), max_iter=300, random_state=1)
    model = make_pipeline(columns, StandardScaler(), classifier).fit(table, classes)
    save("ordinal_mlp", to_onnx(model, initial_types=types, options={id(classifier): {"zipmap": False}}))
    answers("ordinal_mlp", inputs)

    tensor = table[["ward", "age"]].to_numpy(np.float32)
    chosen = ColumnTransformer([("age", StandardScaler(), [1]), ("ward", OrdinalEncoder(), [0])])
    classifier = LogisticRegression()
    model = make_pipeline(chosen, classifier).fit(tensor, classes)
    save("ordinal_tensor", to_onnx(model, tensor[:1], options={id(classifier): {"zipmap": False}}))
    np.save(HERE / "ordinal_tensor.inputs.npy", tensor[:ROWS])
    answers("ordinal_tensor", {"X": tensor[:ROWS]})


def quantised():
    """A small network in 8 bits, with scales of each tensor and of each channel."""
    rng = np.random.default_rng(3)
    weight = lambda name, *shape: numpy_helper.from_array(
        (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[0, 2, 0, 2], strides=[1, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 1], strides=[2, 1]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "m", "t"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["k"]),
        helper.make_node("Gemm", ["k", "n", "u"], ["y"], transB=1),
    ]
    info = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
    weights = [
        weight("w", 3, 1, 1, 5), weight("b", 3), weight("m", 8, 36), weight("t", 8),
        weight("n", 3, 8), weight("u", 3),
    ]
    graph = helper.make_graph(nodes, "g", [info("x", 1, 4, 12)], [info("y", 3)], weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    x = rng.uniform(-1, 1, (200, 1, 4, 12)).astype(np.float32)

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = iter([{"x": x}])

        def get_next(self):
            return next(self.batches, None)

    np.save(HERE / "quantised.inputs.npy", x[:ROWS])
    for name, per_channel, kind in [
        ("quantised_tensor", False, QuantType.QUInt8), ("quantised_channel", True, QuantType.QInt8),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            before, after = f"{folder}/before.onnx", f"{folder}/after.onnx"
            onnx.save(model, before)
            quantize_static(before, after, Reader(), quant_format=QuantFormat.QDQ,
                            per_channel=per_channel, activation_type=kind,
                            weight_type=QuantType.QInt8)
            save(name, onnx.load(after))
        answers(name, {"x": x[:ROWS]})


tables()
ordinals()
quantised()
