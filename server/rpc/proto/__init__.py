"""The messages of gRPC calls: `make proto` writes the modules of this folder from its .proto files."""
