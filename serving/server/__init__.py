"""A model server for laptops, tests and small deployments that speaks TensorFlow Serving.

Layers, outermost first; each knows only those below it:

    process           signals, log, exit code: a server as a process
    server            ports, health, drain: a server in an event loop
    grpc_services, rest      the two wires
    inference, example_calls TensorFlow Serving's five calls on named numpy arrays
    json_*            REST's JSON, read and written as TensorFlow Serving does
    execution         where a run happens: in line, in a worker, merged into a batch
    registry          which versions of which models are loaded, and who holds them
    sources           which versions ought to be: the ledger, or a policy and a folder
    saved_model       one SavedModel on disk as a runnable graph

Nothing here imports TensorFlow until a server starts.
"""

from serving.server.options import ServerOptions

__all__ = ["ServerOptions"]
