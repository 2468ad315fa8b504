"""Payloads in an S3 store for libraries that can only read a disk.

    object_store   the store itself, with patience for one that is busy
    tfx_plugin     TFX's own file calls on s3://
    stage          an executor's inputs copied in and outputs copied out

TensorFlow's file system has no s3://, and TFT, the trainer and TFMA read and write through it.
"""
