"""A model server for laptops, tests and small deployments that speaks TensorFlow Serving.

Layers, outermost first; each knows only those below it:

    process           ports, signals, drain: one running server
    grpc_services, rest      the two wires: protocol objects in, protocol objects out
    inference         TensorFlow Serving's five calls on named numpy arrays
    execution         where a run happens: in line, in a worker, merged into a batch
    registry          which versions of which models are loaded, and who may use them
    saved_model       one SavedModel on disk as a runnable graph

Nothing here imports TensorFlow until a server starts.
"""

from serving.server.options import ServerOptions

__all__ = ["ServerOptions"]
