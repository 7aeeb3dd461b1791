"""A SavedModel's graph as a function of pure arithmetic: nothing else of the file is loaded, let alone executed.

TensorFlow's own loader runs the initialisers of a SavedModel, and its graph may read and write files. Here the protobuf
is read first. What the signature needs is taken out of it, every operation of that must be a known one, and only then
is a graph made.
"""

from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from uuid import uuid4

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.attr_value_pb2 import NameAttrList
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

# What exports of our models consist of, and their kin: no variables, files, loops, tables, random numbers or Python.
_PURE = """
    Abs Add AddN AddV2 All Any ArgMax AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd BroadcastTo
    Cast Ceil ClipByValue Concat ConcatV2 Const Conv2D Cos DepthToSpace DepthwiseConv2dNative Div DivNoNan
    Einsum Elu Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN Inv InvertPermutation
    L2Loss LRN LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool
    Maximum Mean Min Minimum MirrorPad Mod Mul Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2
    PartitionedCall Placeholder Pow Prod Range Rank RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear
    ReverseV2 Rsqrt Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
    StopGradient StridedSlice Sub Sum Tan Tanh Tile TopKV2 Transpose Unpack ZerosLike
"""


def pure_function(folder: Path, signature: str, source: str, target: str) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """The function that a SavedModel's signature computes, if it is one of pure arithmetic.

    Args:
        folder: Of the SavedModel.
        signature: Name of the signature.
        source: Its one input.
        target: Its output.

    Returns:
        Takes the input and gives a list of the output alone.

    Raises:
        ValueError: The file is no SavedModel, has no such signature, or does something other than arithmetic.
    """
    saved = SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise ValueError("saved_model.pb is none") from error
    graph = next((graph for graph in saved.meta_graphs if signature in graph.signature_def), None)
    if graph is None:
        raise ValueError(f"it has no signature {signature!r}")
    feed, fetch = (
        named[name].name if name in named else ""
        for named, name in (
            (graph.signature_def[signature].inputs, source),
            (graph.signature_def[signature].outputs, target),
        )
    )
    needed = _needed(graph.graph_def, fetch.partition(":")[0])
    if bad := next((node for node in _nodes(needed) if node.op not in _PURE.split()), None):
        raise ValueError(f"it holds the operation {bad.op}, which no export of ours has and which may do anything")
    made = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(needed, name=""), [])
    return made.prune(feed, [fetch])


def _needed(graph: GraphDef, output: str) -> GraphDef:
    """The part of a graph that a node needs, with the functions that are called there and no others."""
    if output not in {node.name for node in graph.node}:
        raise ValueError(f"its graph has no node {output!r}")
    needed = tf.compat.v1.graph_util.extract_sub_graph(graph, [output])
    functions = {function.signature.name: function for function in graph.library.function}
    called, found = [call.name for node in needed.node for call in _calls(node)], {}
    while called:
        name = called.pop()
        if name in functions and name not in found:
            found[name] = functions[name]
            called += [call.name for node in functions[name].node_def for call in _calls(node)]
    calls = {name: [call.name for node in own.node_def for call in _calls(node)] for name, own in found.items()}
    TopologicalSorter(calls).prepare()  # refuses a function that calls itself, which would never end
    needed.ClearField("library")
    needed.library.function.extend(found.values())
    return _renamed(needed)


def _renamed(graph: GraphDef) -> GraphDef:
    """The graph with new names for its functions: TensorFlow knows functions by name, and others may have these."""
    mark = uuid4().hex
    for function in graph.library.function:
        function.signature.name = f"{function.signature.name}_{mark}"
    for node in _nodes(graph):
        for function in _calls(node):
            function.name = f"{function.name}_{mark}"
    return graph


def _calls(node: NodeDef) -> list[NameAttrList]:
    """The functions that a node calls."""
    return [call for value in node.attr.values() for call in (value.func, *value.list.func) if call.name]


def _nodes(graph: GraphDef) -> Iterator[NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
