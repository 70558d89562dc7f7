"""The only Python that knows inference runtimes: model files in, `Engine`s out."""
